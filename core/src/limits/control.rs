//! Bounds of the control socket and of the queues inside a node.

use std::time::Duration;

use super::KIB;

/// Longest line on the control socket, in bytes.
pub const CONTROL_LINE: usize = 256 * KIB;
/// Most commands that wait for holders at one node: a thousand downloads and room for as many more. Each
/// costs a connection and a task, some 20 KiB.
pub const CONTROL_WAITING: usize = 2000;
/// Most commands that are answered at once without waiting for holders: many more than people type, and fewer
/// than there are threads for blocking work.
pub const CONTROL_ANSWERING: usize = 256;
/// Most clients that have not yet sent a command. The oldest gives way to a new one; a real client sends its
/// command at once.
pub const CONTROL_OPENING: usize = 64;
/// Time that a client of the control socket has to send its command.
pub const CONTROL_OPENING_TIME: Duration = Duration::from_secs(10);
/// Interval at which a node that works on a command and has no event to send shows that it lives.
pub const CONTROL_BEAT: Duration = Duration::from_secs(1);
/// Silence after which a node counts as not answering, if the system says that its process is stopped or
/// waits for its disk.
pub const CONTROL_SILENCE: Duration = Duration::from_secs(4);
/// Silence after which a node counts as not answering, whatever the system says of its process. Until then
/// the machine may be busy with other work.
pub const CONTROL_SILENCE_BUSY: Duration = Duration::from_secs(15);
/// Most contents shared by one command.
pub const SHARED_BY_COMMAND: usize = 1000;
/// Events that wait for one client. A slower client loses progress events, never the final event.
pub const EVENT_QUEUE: usize = 256;
/// Commands that wait for the node.
pub const COMMAND_QUEUE: usize = 64;
/// Events of peer sessions that wait for the node.
pub const SESSION_QUEUE: usize = 1024;
/// Control frames that wait to be written to one peer. A peer that does not read them is dropped.
pub const OUTBOX: usize = 1024;
/// Most contents that `swarm status` names.
pub const STATUS_SHARED: usize = 100;
