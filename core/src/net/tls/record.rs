//! TLS 1.3 records after the handshake ([RFC 8446](https://www.rfc-editor.org/rfc/rfc8446#section-5), section
//! 5).
//!
//! rustls makes the keys and updates them; this module seals and opens records with them, as a kernel with
//! TLS offload does. rustls itself copies every incoming byte twice more, reads its socket 4 KiB at a time,
//! and allocates every record. Here a record is decrypted from the socket's buffer straight into the
//! reader's, and encrypted from the writer's buffer straight into the socket's (the figures are in
//! `core/ARCHITECTURE.md`).
//!
//! After the handshake a peer may send data, a key update, session tickets (ignored, because nothing is ever
//! resumed), and an alert. Anything else ends the connection.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{Error, ExtractedSecrets, SupportedCipherSuite};

use super::cipher::{DATA, HEADER, OVERHEAD, Plaintext, Protection, TAG, copy};
use super::handshake::Rest;

/// Most bytes of plaintext in one record; RFC 8446, 5.1.
const PLAIN_MAX: usize = 16 << 10;
/// Most bytes of ciphertext in one record; RFC 8446, 5.2.
const CIPHER_MAX: usize = PLAIN_MAX + 256;

/// Bytes of the buffer for incoming data: four full records and the rest of a fifth. A larger buffer gained
/// nothing, and every connection holds one.
pub(super) const INCOMING: usize = (64 << 10) + HEADER + CIPHER_MAX;
/// Bytes of the buffer for outgoing data: a muxer's frame of 64 KiB, and as much that the socket has not
/// taken yet.
const OUTGOING: usize = 2 * SEND_AT + 16 * OVERHEAD;
/// Bytes from which outgoing data goes to the socket without waiting for a flush.
const SEND_AT: usize = 64 << 10;

/// Records sealed under one key. AES-GCM allows 2^24.5 (RFC 8446, 5.5).
const REKEY_AFTER: u64 = 1 << 24;
/// Records without data in a row, after which the peer only wants to keep us busy.
const IDLE_RECORDS: u32 = 32;
/// Bytes of handshake messages in total, after which the peer only wants to keep us busy. They allow a few
/// session tickets, and key updates for petabytes.
const HANDSHAKE_BYTES: usize = 64 << 10;

/// Content types; RFC 8446, 5.1.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// Alerts; RFC 8446, 6.
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
/// Handshake messages; RFC 8446, 4.
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Source of the next keys.
#[allow(missing_debug_implementations)]
pub(super) enum Keys {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

impl Keys {
    fn next_to_send(&mut self) -> Result<Protection, Error> {
        let (seq, secrets) = match self {
            Self::Client(kernel) => kernel.update_tx_secret(),
            Self::Server(kernel) => kernel.update_tx_secret(),
        }?;
        Protection::new(seq, &secrets)
    }

    fn next_to_receive(&mut self) -> Result<Protection, Error> {
        let (seq, secrets) = match self {
            Self::Client(kernel) => kernel.update_rx_secret(),
            Self::Server(kernel) => kernel.update_rx_secret(),
        }?;
        Protection::new(seq, &secrets)
    }

    fn suite(&self) -> SupportedCipherSuite {
        match self {
            Self::Client(kernel) => kernel.negotiated_cipher_suite(),
            Self::Server(kernel) => kernel.negotiated_cipher_suite(),
        }
    }
}

/// Outcome of opening the next record.
enum RecordContent {
    /// Bytes of data in the reader's buffer.
    Data(usize),
    /// Data is in [`SecureStream::plain`], or the record held none.
    Kept,
    /// The record has not arrived completely.
    Partial,
}

/// Encrypted byte stream to a peer that has been identified.
pub(crate) struct SecureStream<C> {
    socket: C,
    keys: Keys,
    opening: Protection,
    sealing: Protection,
    incoming: Box<[u8]>,
    /// Range of encrypted bytes in `incoming`.
    unread: Range<usize>,
    /// Range of decrypted bytes in `incoming` that did not fit the reader's buffer; always before `unread`.
    plain: Range<usize>,
    /// Data that came with the handshake, and how many bytes of it have been read.
    early: Vec<u8>,
    early_read: usize,
    idle_records: u32,
    /// Bytes of handshake messages so far, and bytes of a session ticket that are still to be skipped.
    handshake_bytes: usize,
    skip: usize,
    /// True after the peer announced that it sends no more.
    closed: bool,
    /// Error found while there was still data to hand over.
    fault: Option<io::Error>,
    /// True after an error: nothing more can be read.
    dead: bool,
    outgoing: Box<[u8]>,
    unsent: Range<usize>,
    /// True if the socket had no room the last time.
    blocked: bool,
    /// True if the peer asked for a new sending key, or a test did.
    rekey: bool,
    said_goodbye: bool,
    #[cfg(test)]
    group: Option<rustls::NamedGroup>,
}

impl<C> std::fmt::Debug for SecureStream<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecureStream").field("suite", &self.keys.suite()).finish_non_exhaustive()
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {what}"))
}

impl<C> SecureStream<C> {
    /// Makes the stream of a connection after its handshake.
    pub(super) fn new(
        socket: C,
        (secrets, keys): (ExtractedSecrets, Keys),
        rest: Rest,
    ) -> Result<Self, Error> {
        let protection = |(seq, secrets)| Protection::new(seq, &secrets);
        Ok(Self {
            socket,
            keys,
            opening: protection(secrets.rx)?,
            sealing: protection(secrets.tx)?,
            incoming: rest.incoming,
            unread: rest.unread,
            plain: 0..0,
            early: rest.early,
            early_read: 0,
            idle_records: 0,
            handshake_bytes: 0,
            skip: 0,
            closed: false,
            fault: None,
            dead: false,
            outgoing: vec![0; OUTGOING].into_boxed_slice(),
            unsent: 0..0,
            blocked: false,
            rekey: false,
            said_goodbye: false,
            #[cfg(test)]
            group: rest.group,
        })
    }

    /// Returns the cipher suite that both ends agreed on.
    #[cfg(test)]
    pub(crate) fn suite(&self) -> rustls::CipherSuite {
        self.keys.suite().suite()
    }

    /// Returns the key exchange group that both ends agreed on.
    #[cfg(test)]
    pub(crate) const fn group(&self) -> Option<rustls::NamedGroup> {
        self.group
    }

    /// Requests a key update before the next data.
    #[cfg(test)]
    pub(crate) const fn rekey(&mut self) {
        self.rekey = true;
    }

    /// Opens the next record, into `into` if that is certainly long enough.
    fn open(&mut self, into: &mut [u8]) -> io::Result<RecordContent> {
        let Some(&[content, major, minor, high, low]) = self.incoming[self.unread.clone()].first_chunk()
        else {
            return Ok(RecordContent::Partial);
        };
        let len = usize::from(high) << 8 | usize::from(low);
        if (content, major, minor) != (DATA, 3, 3) || !(TAG + 1..=CIPHER_MAX).contains(&len) {
            return Err(broken("the peer sent no TLS record"));
        }
        if self.unread.len() < HEADER + len {
            return Ok(RecordContent::Partial);
        }
        let start = self.unread.start + HEADER;
        self.unread.start = start + len;
        let body = &mut self.incoming[start..start + len];
        let opened = self.opening.open([content, major, minor, high, low], body, into);
        let (plain, direct) = match opened.ok_or_else(|| broken("a record does not verify"))? {
            Plaintext::Moved(len) => (&into[..len], true),
            Plaintext::InPlace(len) => (&body[..len], false),
        };
        // The content type is the last byte that is not padding.
        let Some(end) = plain.iter().rposition(|byte| *byte != 0) else {
            return Err(broken("a record without a type"));
        };
        if plain.len() > PLAIN_MAX + 1 {
            return Err(broken("a record that is too long"));
        }
        self.idle_records = if plain[end] == DATA && end > 0 { 0 } else { self.idle_records + 1 };
        if self.idle_records > IDLE_RECORDS {
            return Err(broken("too many records without data"));
        }
        if plain[end] == DATA {
            if self.skip > 0 {
                return Err(broken("data within a handshake message"));
            }
            if direct {
                return Ok(RecordContent::Data(end));
            }
            self.plain = start..start + end;
            return Ok(RecordContent::Kept);
        }
        let (content, message) = (plain[end], plain[..end].to_vec());
        self.control(content, &message)?;
        Ok(RecordContent::Kept)
    }

    /// Handles a record that is not data.
    fn control(&mut self, content: u8, message: &[u8]) -> io::Result<()> {
        match (content, message) {
            (ALERT, [_, CLOSE_NOTIFY]) => self.closed = true,
            (ALERT, [_, USER_CANCELED]) => {}
            (ALERT, [_, code]) => {
                // bad_certificate to certificate_unknown; RFC 8446, 6.2.
                let refused = (42..=46).contains(code);
                let what = if refused { "refused our certificate" } else { "ended the connection" };
                return Err(broken(&format!("the peer {what} (alert {code})")));
            }
            (HANDSHAKE, _) => self.after_handshake(message)?,
            _ => return Err(broken("an unexpected record")),
        }
        Ok(())
    }

    /// Handles tickets, possibly cut into several records, and key updates, which end their record.
    fn after_handshake(&mut self, mut message: &[u8]) -> io::Result<()> {
        self.handshake_bytes += message.len();
        if self.handshake_bytes > HANDSHAKE_BYTES {
            return Err(broken("too many handshake messages"));
        }
        loop {
            let skipped = self.skip.min(message.len());
            self.skip -= skipped;
            message = &message[skipped..];
            match message {
                [] => return Ok(()),
                [NEW_SESSION_TICKET, a, b, c, rest @ ..] if matches!(self.keys, Keys::Client(_)) => {
                    self.skip = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                    message = rest;
                }
                [KEY_UPDATE, 0, 0, 1, asked @ (0 | 1)] => {
                    self.opening = self.keys.next_to_receive().map_err(io::Error::other)?;
                    self.rekey |= *asked == 1;
                    return Ok(());
                }
                _ => return Err(broken("an unexpected handshake message")),
            }
        }
    }

    /// Copies out bytes that are decrypted already; returns how many.
    fn take(&mut self, into: &mut [u8]) -> usize {
        if self.early_read < self.early.len() {
            let count = into.len().min(self.early.len() - self.early_read);
            into[..count].copy_from_slice(&self.early[self.early_read..][..count]);
            self.early_read += count;
            if self.early_read == self.early.len() {
                (self.early, self.early_read) = (Vec::new(), 0);
            }
            return count;
        }
        let count = into.len().min(self.plain.len());
        copy(&self.incoming[self.plain.start..][..count], into);
        self.plain.start += count;
        count
    }

    /// Seals one record behind the bytes that wait to be sent. The caller makes sure that there is room.
    fn put(&mut self, content: u8, plain: &[u8]) -> io::Result<()> {
        let len = self.sealing.seal(content, plain, &mut self.outgoing[self.unsent.end..])?;
        self.unsent.end += len;
        Ok(())
    }

    /// Sends a key update, if one is due.
    fn put_rekey(&mut self) -> io::Result<()> {
        if self.rekey || self.sealing.seq >= REKEY_AFTER {
            self.put(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0])?;
            self.sealing = self.keys.next_to_send().map_err(io::Error::other)?;
            self.rekey = false;
        }
        Ok(())
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> SecureStream<C> {
    /// Reads more encrypted bytes from the socket; returns how many.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.incoming.len() - self.unread.start < HEADER + CIPHER_MAX {
            self.incoming.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut self.incoming[self.unread.end..]))?;
        self.unread.end += read;
        Poll::Ready(Ok(read))
    }

    /// Writes all sealed bytes to the socket.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = Pin::new(&mut self.socket).poll_write(cx, &self.outgoing[self.unsent.clone()]);
            self.blocked = sent.is_pending();
            let sent = ready!(sent)?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.start += sent;
        }
        self.unsent = 0..0;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for SecureStream<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut filled = 0;
        while filled < into.len() {
            let taken = this.take(&mut into[filled..]);
            filled += taken;
            if taken > 0 {
                continue;
            }
            if filled == 0 && this.dead {
                let fault = this.fault.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
                return Poll::Ready(Err(fault));
            }
            if this.closed || this.dead {
                break;
            }
            match this.open(&mut into[filled..]) {
                Ok(RecordContent::Data(count)) => filled += count,
                Ok(RecordContent::Kept) => {}
                Ok(RecordContent::Partial) if filled > 0 => break,
                Ok(RecordContent::Partial) => {
                    if ready!(this.poll_more(cx))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
                // Nothing is read after a fault, since the keys no longer fit.
                Err(fault) => (this.fault, this.dead) = (Some(fault), true),
            }
        }
        Poll::Ready(Ok(filled))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SecureStream<C> {
    /// Seals as much as there is room for. The bytes go to the socket when there are enough for a system
    /// call, or at a flush.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.said_goodbye {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // Sealing more would not make a full socket faster.
        if this.unsent.len() >= if this.blocked { PLAIN_MAX } else { SEND_AT } {
            ready!(this.poll_send(cx))?;
        } else if this.unsent.start > 0 {
            this.outgoing.copy_within(this.unsent.clone(), 0);
            this.unsent = 0..this.unsent.len();
        }
        this.put_rekey()?;
        let mut written = 0;
        while written < from.len() {
            let room = this.outgoing.len() - this.unsent.end;
            // Room stays free for this record's overhead and for the closing alert.
            let Some(room) = room.checked_sub(2 * OVERHEAD + 8).filter(|room| *room > 0) else { break };
            let part = &from[written..from.len().min(written + room.min(PLAIN_MAX))];
            this.put(DATA, part)?;
            written += part.len();
        }
        if this.unsent.len() >= SEND_AT
            && let Poll::Ready(sent) = this.poll_send(cx)
        {
            sent?;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_goodbye {
            self.said_goodbye = true;
            self.put(ALERT, &[1, CLOSE_NOTIFY])?;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
