//! Bounds of offices: certificates, expulsions, invitations, vouchers and announcements.

use std::time::Duration;

use super::{KIB, MIB};

/// Longest name of an office or of a node in it, in bytes.
pub const OFFICE_NAME_BYTES: usize = 64;
/// Largest certificate, in bytes: fixed fields, a name, a signature.
pub const CERTIFICATE_BYTES: usize = 1 + 32 + 32 + 1 + 3 * 8 + 1 + OFFICE_NAME_BYTES + 32 + 64;
/// Largest expulsion list, in bytes: some 1,300 expulsions within the life of a certificate, in one control
/// frame.
pub const EXPULSION_BYTES: usize = 60 * KIB;
/// Most entries of an expulsion list.
pub const EXPULSIONS: usize = (EXPULSION_BYTES - 256) / 48;
/// Largest difference tolerated between the clocks of two machines.
pub const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);
/// Secrets of an office that are kept. A member that was away for this many changes is still recognised when
/// it returns.
pub const OFFICE_SECRETS: usize = 32;
/// Largest step from the newest known epoch of an office's secret to a new one, so that nobody can use up all
/// numbers.
pub const OFFICE_EPOCH_STEP: u32 = 1 << 16;
/// Validity of a member's certificate, in seconds.
pub const MEMBER_SECS: u64 = 90 * 24 * 3600;
/// Validity of a registrar's certificate, in seconds. It is long because only the root can issue another.
pub const REGISTRAR_SECS: u64 = 2 * 365 * 24 * 3600;
/// Age of a member's certificate, in seconds, from which any registrar that the member meets renews it.
pub const RENEW_AFTER_SECS: u64 = 30 * 24 * 3600;
/// Longest time, in seconds, for which an expulsion entry may be valid: longer than any certificate.
pub const VOID_SECS: u64 = REGISTRAR_SECS + 2 * 24 * 3600;
/// Margin added to the expelled serial, so that a certificate issued by a registrar with a wrong clock or
/// stale state stays void (seconds, since serials follow the clock).
pub const SERIAL_AHEAD: u64 = 10 * 365 * 24 * 3600;
/// Largest serial of a certificate.
pub const SERIAL: u64 = 1 << 40;
/// Time within which the first message of an office handshake must arrive.
pub const DOOR_OPENING: Duration = Duration::from_secs(3);
/// Messages about the office that one member may send in ten seconds.
pub const OFFICE_MESSAGES: u32 = 400;
/// Messages about the office that wait until a member may be sent more: all lists and secrets, several times
/// over.
pub const OFFICE_WAITING: usize = 4096;
/// Vouchers kept for one content.
pub const VOUCHERS: usize = 4;
/// Largest certificate chain that a node presents in an office handshake, in bytes: two certificates.
pub const CHAIN_BYTES: usize = 2 * CERTIFICATE_BYTES + 16;
/// Largest welcome that a newcomer receives, in bytes: lists of many registrars.
pub const WELCOME_BYTES: usize = MIB;
/// Longest duration of an office handshake, both ways.
pub const DOOR_TIMEOUT: Duration = Duration::from_secs(10);
/// Most open invitations of one registrar.
pub const INVITES: usize = 1000;
/// Longest validity of an invitation, in seconds.
pub const INVITE_SECS: u64 = 365 * 24 * 3600;
/// Most content ids in a voucher.
pub const VOUCHER_IDS: usize = 4;
/// Most members that a voucher names.
pub const VOUCHER_MEMBERS: usize = 1000;
/// Largest voucher, in bytes: it travels in a control frame.
pub const VOUCHER_BYTES: usize = 256 + 32 * (VOUCHER_IDS + VOUCHER_MEMBERS);
/// Members that a node of an office keeps sessions with, whatever it fetches, so that news from one reaches
/// all.
pub const OFFICE_CONTACTS: usize = 4;
/// Members that an answer lists when a node asks which member has a name.
pub const OFFICE_CALLED: usize = 4;
/// Commands of an office that wait at once for the meaning of a name, and as many for a connected member.
pub const OFFICE_SEARCHES: usize = 64;
/// Members tracked at once because they lack the newest secret.
pub const OFFICE_BEHIND: usize = 1024;
/// Most offices of one node.
pub const OFFICES: usize = 16;
/// Members remembered by name.
pub const OFFICE_MEMBERS: usize = 20_000;
/// Addresses in an announcement on the local network.
pub const BEACON_ADDRS: usize = 8;
/// Announcements of an office that are examined per second.
pub const BEACONS_PER_SECOND: u32 = 1000;
/// Announcements remembered, so that none is answered twice.
pub const BEACONS_SEEN: usize = 16_384;
/// Largest age of an announcement that is answered, and largest lead of its clock.
pub const BEACON_FRESH: Duration = Duration::from_secs(120);
/// Addresses in an invitation.
pub const INVITE_ADDRS: usize = 4;
/// Longest address in an invitation, in bytes.
pub const INVITE_ADDR_BYTES: usize = 64;
/// Longest invitation as text, in bytes.
pub const INVITE_BYTES: usize = 512;
