//! stub
pub mod command;
pub mod event;
