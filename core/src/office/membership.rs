//! A member in a session, and what it vouches for.

use super::certificate::{Certificate, Chain};
use super::voucher::Believed;

/// A member in a session.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The certificate that the member has shown.
    pub certificate: Certificate,
    /// The statements that lead from the root key to the certificate.
    pub chain: Chain,
}

/// A voucher that is believed, as it is passed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The statement of the voucher.
    pub believed: Believed,
    /// The bytes of the voucher.
    pub voucher: Vec<u8>,
    /// The statements that lead from the root key to the voucher's signer.
    pub chain: Chain,
}
