//! The identity of a member in a session, and vouchers as they are passed on.

use super::certificate::{Certificate, Chain};
use super::voucher::Believed;

/// The identity that a peer proved when it was admitted to the office.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The peer's own certificate.
    pub certificate: Certificate,
    /// The chain that proves the certificate.
    pub chain: Chain,
}

/// A believed voucher, with the bytes that prove it to other members.
#[derive(Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The content of the voucher.
    pub believed: Believed,
    /// The bytes of the voucher.
    pub voucher: Vec<u8>,
    /// The certificates of its issuer.
    pub chain: Chain,
}
