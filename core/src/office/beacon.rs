//! What a member announces on the local network: where it is, for members alone.
//!
//! | field | bytes | |
//! |---|---|---|
//! | nonce | 24 | random |
//! | sealed | [`PLAIN`] + 16 | XChaCha20-Poly1305 under the secret's key for it ([`super::secret`]), nothing else authenticated |
//!
//! Every announcement is of the same length, and two of one member have nothing in common. Inside:
//!
//! | field | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | asks | 1 | 1 if others are to say where they are, else 0 |
//! | time | 8 | when it was made |
//! | peer | 32 | its key in this office |
//! | addresses | 1 | how many follow, at most [`limits::BEACON_ADDRS`] |
//! | each: length, address | 1, length | a multiaddr, binary |
//! | filling | | zeros |
//!
//! Only fresh ones that were not seen before are answered: one that is played back makes nobody show himself.

use super::{Fields, PublicKey, Rejected, VERSION};
use crate::content::seal::{NONCE, decrypt, encrypt};
use crate::limits;

/// Bytes inside.
pub const PLAIN: usize = 320;
/// Bytes of an announcement.
pub const LEN: usize = NONCE + PLAIN + 16;

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beacon {
    /// Others are to say where they are.
    pub asks: bool,
    /// When it was made, seconds since 1970.
    pub time: u64,
    /// Who.
    pub peer: PublicKey,
    /// Where: binary multiaddrs.
    pub addrs: Vec<Vec<u8>>,
}

impl Beacon {
    /// Its bytes; addresses for which there is no room are left out.
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

    /// Reads one; nothing if it is not of this key.
    #[must_use]
    pub fn open(bytes: &[u8], key: &[u8; 32]) -> Option<Self> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().filter(|_| bytes.len() == LEN)?;
        let plain = decrypt(key, nonce, &[], sealed).ok()?;
        Self::read(&plain).ok()
    }

    fn read(plain: &[u8]) -> Result<Self, Rejected> {
        let mut fields = Fields(plain);
        fields.version()?;
        let asks = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Rejected::Malformed),
        };
        let (time, peer) = (fields.u64()?, PublicKey(fields.array()?));
        let count = fields.u8()?;
        if usize::from(count) > limits::BEACON_ADDRS {
            return Err(Rejected::Malformed);
        }
        let mut addrs = Vec::with_capacity(count.into());
        for _ in 0..count {
            let len = usize::from(fields.u8()?);
            if !(1..=limits::INVITE_ADDR_BYTES).contains(&len) {
                return Err(Rejected::Malformed);
            }
            addrs.push(fields.take(len)?.to_vec());
        }
        if fields.0.iter().any(|byte| *byte != 0) {
            return Err(Rejected::Malformed);
        }
        Ok(Self { asks, time, peer, addrs })
    }
}
