//! The interface of a node: commands, events, the rows of its reports, and the typed calls over them.
//!
//! [`command`] and [`event`] are the values that travel, in this process or over the control socket. [`call`]
//! pairs each command with the type of its answer, [`job`] is a call under way, and [`reader`] the bytes of a
//! download as a stream. The last three work over anything that takes a command and gives its events.

pub mod call;
pub mod command;
pub mod event;
pub mod job;
pub mod reader;
pub mod status;
mod transfer;
