//! A member in a session, and what it vouches for.

use super::certificate::{Certificate, Chain};
use super::voucher::Believed;

/// A member in a session.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) certificate: Certificate,
    pub(crate) chain: Chain,
}

/// A voucher that is believed, as it is passed on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Vouched {
    pub(crate) believed: Believed,
    pub(crate) voucher: Vec<u8>,
    pub(crate) chain: Chain,
}
