//! The files that a node keeps about an office, in that office's folder.
//!
//! | file | content |
//! |---|---|
//! | `charter` | the charter; without it the node is no member |
//! | `identity` | this node's key in the office |
//! | `chain` | this node's certificates |
//! | `book` | the believed statements |
//! | `expelled` | all expulsions that the node ever believed |
//! | `invites` | open invitations |
//! | `members` | the members that the node has met |
//! | `root` | the root's key, locked, on the machines that have it |
//!
//! All files but the key exist in two generations.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::directory::Members;
use super::now;
use crate::net::{Keypair, identity};
use crate::office::certificate::{Chain, Role};
use crate::office::trust::TrustState;
use crate::office::{Charter, OfficeId};
use crate::signed::Statement;
use crate::store::record::Domain;
use crate::store::state_files::CHARTER;
use crate::store::{DiskError, Store};

const CHAIN: &str = "chain";
const BOOK: &str = "book";
const EXPELLED: &str = "expelled";
const INVITES: &str = "invites";
const MEMBERS: &str = "members";
const ROOT: &str = "root";

/// An open invitation, as its registrar keeps it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Invitation {
    /// The secret that newcomers prove to know.
    pub(crate) secret: [u8; 16],
    /// The role of the newcomers.
    pub(crate) role: Role,
    /// The number of newcomers that it may still admit.
    pub(crate) left: u32,
    /// End of validity, in seconds since 1970.
    pub(crate) expires: u64,
    /// A hash of the office's secret at the time of the invitation. A change of the secret ends the
    /// invitation.
    pub(crate) mark: [u8; 8],
    /// Keys of the newcomers that were admitted. A second visit of one of them does not count.
    pub(crate) used: Vec<[u8; 32]>,
}

impl Drop for Invitation {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

/// The files of an office, loaded.
pub(crate) struct OfficeFiles {
    /// The store, as the office sees it.
    pub(crate) store: Store,
    /// This node's key in the office.
    pub(crate) keypair: Keypair,
    /// This node's certificates.
    pub(crate) chain: Chain,
    /// The believed statements.
    pub(crate) book: TrustState,
    /// Open invitations of this registrar.
    pub(super) invites: Vec<Invitation>,
    /// The members that this node has met.
    pub(crate) members: Members,
}

/// Returns the error for a damaged file.
fn corrupt(store: &Store, name: &str) -> DiskError {
    DiskError::corrupt(&store.folder().join(name), "what is kept of the office is damaged")
}

impl OfficeFiles {
    /// Loads the files of an office.
    ///
    /// # Errors
    /// The disk fails, or `charter`, `chain` or `book` is missing or damaged.
    pub(crate) fn load(store: &Store, id: OfficeId) -> Result<Self, DiskError> {
        let store = store.within(Domain::Office(id));
        let charter = store.kept(CHARTER).and_then(|bytes| Charter::decode(&bytes).ok());
        let charter = charter.filter(|c| c.id() == id).ok_or_else(|| corrupt(&store, CHARTER))?;
        let chain = store.kept(CHAIN).and_then(|bytes| postcard::from_bytes(&bytes).ok());
        let chain = chain.ok_or_else(|| corrupt(&store, CHAIN))?;
        let told: Vec<Statement> = store
            .kept(BOOK)
            .and_then(|bytes| postcard::from_bytes(&bytes).ok())
            .ok_or_else(|| corrupt(&store, BOOK))?;
        let mut book = TrustState::new(charter);
        let at = now();
        if let Some(expelled) = store.kept(EXPELLED).and_then(|bytes| postcard::from_bytes(&bytes).ok()) {
            book.recall(&expelled);
            book.forget(at);
        }
        for told in &told {
            if let Err(error) = book.hear(told, at) {
                tracing::warn!(%error, "something that was believed of the office is not any longer");
            }
        }
        let invites = store.kept(INVITES).map(Zeroizing::new);
        let invites = invites.and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default();
        let members = Members::read(&store.kept(MEMBERS).unwrap_or_default());
        let keypair = identity::load(&store.folder())?;
        Ok(Self { store, keypair, chain, book, invites, members })
    }

    /// Returns the name of an office, `None` without a readable charter.
    pub(crate) fn name(store: &Store, id: OfficeId) -> Option<String> {
        let charter = store.within(Domain::Office(id)).kept(CHARTER)?;
        Some(Charter::decode(&charter).ok()?.name)
    }

    /// Makes the folder of an office and a key in it, unless they exist. Returns the store, as the office
    /// sees it, and the key.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn begin(store: &Store, id: OfficeId) -> Result<(Store, Keypair), DiskError> {
        let store = store.within(Domain::Office(id));
        store.make_folder()?;
        let keypair = identity::load(&store.folder())?;
        Ok((store, keypair))
    }

    /// Writes the files that make a node a member. The charter comes last: without it the node is no member.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn settle(store: &Store, book: &TrustState, chain: &Chain) -> Result<(), DiskError> {
        keep_chain(store, chain)?;
        keep_book(store, book)?;
        store.keep(CHARTER, &book.charter().encode())
    }
}

/// Writes this node's certificates.
///
/// # Errors
/// The disk fails.
pub(super) fn keep_chain(store: &Store, chain: &Chain) -> Result<(), DiskError> {
    store.keep(CHAIN, &postcard::to_allocvec(chain).unwrap_or_default())
}

/// Writes the believed statements.
///
/// # Errors
/// The disk fails.
pub(super) fn keep_book(store: &Store, book: &TrustState) -> Result<(), DiskError> {
    let told: Vec<&Statement> = book.all().collect();
    // Expulsions come first: they must never be forgotten, whatever becomes of the rest.
    store.keep(EXPELLED, &postcard::to_allocvec(book.expelled()).unwrap_or_default())?;
    store.keep(BOOK, &postcard::to_allocvec(&told).unwrap_or_default())
}

/// Writes the open invitations.
///
/// # Errors
/// The disk fails.
pub(super) fn keep_invites(store: &Store, invites: &[Invitation]) -> Result<(), DiskError> {
    store.keep(INVITES, &Zeroizing::new(postcard::to_allocvec(invites).unwrap_or_default()))
}

/// Writes the members that this node has met.
///
/// # Errors
/// The disk fails.
pub(super) fn keep_members(store: &Store, members: &Members) -> Result<(), DiskError> {
    store.keep(MEMBERS, &members.write())
}

/// Writes the locked key of the root.
///
/// # Errors
/// The disk fails.
pub(crate) fn keep_root(store: &Store, locked: &[u8]) -> Result<(), DiskError> {
    store.keep(ROOT, locked)
}

/// Returns the locked key of the root, `None` if it is not on this machine.
pub(crate) fn root(store: &Store) -> Option<Vec<u8>> {
    store.kept(ROOT)
}
