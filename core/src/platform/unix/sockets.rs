//! Socket options that not every system has.

use std::io;

use socket2::{SockRef, Socket};

/// Limits the bytes that the kernel takes of a TCP connection beyond those it has sent.
pub(crate) fn limit_unsent(stream: &tokio::net::TcpStream, bytes: u32) -> io::Result<()> {
    SockRef::from(stream).set_tcp_notsent_lowat(bytes)
}

/// Lets other sockets of this machine listen on the same UDP port.
pub(crate) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}
