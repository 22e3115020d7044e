//! What a node is asked, tells and shows.

pub mod command;
pub mod event;
pub mod status;
