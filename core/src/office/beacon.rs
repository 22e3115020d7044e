//! Announcements on the local network: a member tells the other members its addresses.
//!
//! | field | bytes | |
//! |---|---|---|
//! | nonce | 24 | random |
//! | sealed | [`PLAIN`] + 16 | XChaCha20-Poly1305, without additional authenticated data |
//!
//! The key is derived from the office's secret ([`super::secret::OfficeSecret::lan_key`]).
//! All announcements have the same length, and two announcements of one member have nothing in common. The
//! plain text is:
//!
//! | field | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | asks | 1 | 1 if other members should announce themselves in answer, else 0 |
//! | time | 8 | time of the announcement |
//! | peer | 32 | the member's key in this office |
//! | addresses | 1 | number of addresses, at most [`limits::BEACON_ADDRS`] |
//! | each: length, address | 1, length | a multiaddr, binary |
//! | padding | | zeros |
//!
//! Members answer only announcements that are fresh and that they have not seen before, so that nobody can
//! locate members by replaying an announcement.

use crate::content::seal::{NONCE, decrypt, encrypt};
use crate::limits;
use crate::signed::{BadStatement, Fields, PublicKey, VERSION};

/// Bytes of the plain text.
pub const PLAIN: usize = 320;
/// Bytes of an announcement.
pub const LEN: usize = NONCE + PLAIN + 16;

/// The content of an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beacon {
    /// True if other members should announce themselves in answer.
    pub asks: bool,
    /// Time of the announcement, in seconds since 1970.
    pub time: u64,
    /// The member's key.
    pub peer: PublicKey,
    /// The member's addresses: binary multiaddrs.
    pub addrs: Vec<Vec<u8>>,
}

impl Beacon {
    /// Returns the sealed announcement of [`LEN`] bytes. Addresses without room are left out.
    #[must_use]
    pub fn seal(&self, key: &[u8; 32], nonce: [u8; NONCE]) -> Vec<u8> {
        let mut plain = vec![VERSION, u8::from(self.asks)];
        plain.extend(self.time.to_le_bytes());
        plain.extend(self.peer.as_bytes());
        let count = plain.len();
        plain.push(0);
        for addr in self.addrs.iter().take(limits::BEACON_ADDRS) {
            if (1..=limits::INVITE_ADDR_BYTES).contains(&addr.len()) && plain.len() + 1 + addr.len() <= PLAIN
            {
                plain.push(addr.len() as u8);
                plain.extend(addr);
                plain[count] += 1;
            }
        }
        plain.resize(PLAIN, 0);
        [&nonce[..], &encrypt(key, &nonce, &[], &plain)].concat()
    }

    /// Opens an announcement. `None` if it was not sealed with this key.
    #[must_use]
    pub fn open(bytes: &[u8], key: &[u8; 32]) -> Option<Self> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().filter(|_| bytes.len() == LEN)?;
        let plain = decrypt(key, nonce, &[], sealed).ok()?;
        Self::read(&plain).ok()
    }

    fn read(plain: &[u8]) -> Result<Self, BadStatement> {
        let mut fields = Fields::new(plain);
        fields.version()?;
        let asks = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return Err(BadStatement::Malformed),
        };
        let (time, peer) = (fields.u64()?, PublicKey::from_bytes(fields.array()?));
        let count = fields.u8()?;
        if usize::from(count) > limits::BEACON_ADDRS {
            return Err(BadStatement::Malformed);
        }
        let mut addrs = Vec::with_capacity(count.into());
        for _ in 0..count {
            let len = usize::from(fields.u8()?);
            if !(1..=limits::INVITE_ADDR_BYTES).contains(&len) {
                return Err(BadStatement::Malformed);
            }
            addrs.push(fields.take(len)?.to_vec());
        }
        if fields.rest().iter().any(|byte| *byte != 0) {
            return Err(BadStatement::Malformed);
        }
        Ok(Self { asks, time, peer, addrs })
    }
}
