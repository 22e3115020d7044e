//! The identity of a member in a session, and vouchers as they are passed on.

use super::certificate::{Certificate, Chain};
use super::voucher::Believed;

/// The identity that a peer proved when it was admitted to the office.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    /// The peer's own certificate.
    pub(crate) certificate: Certificate,
    /// The chain that proves the certificate.
    pub(crate) chain: Chain,
}

/// A believed voucher, with the bytes that prove it to other members.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// The content of the voucher.
    pub(crate) believed: Believed,
    /// The bytes of the voucher.
    pub(crate) voucher: Vec<u8>,
    /// The certificates of its issuer.
    pub(crate) chain: Chain,
}
