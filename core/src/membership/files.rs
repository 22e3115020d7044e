//! What a node keeps of an office, in that office's folder: `charter`, `identity` (its key there), `chain` (its certificates), `book`
//! (what it was told and believes), `expelled` (who had to leave, by all that it ever believed), `invites`, `members`, and of the root's keeper `root` (locked). All but the key in two generations.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::directory::Members;
use super::now;
use crate::net::{Keypair, identity};
use crate::office::certificate::{Chain, Role};
use crate::office::trust::{Statement, TrustState};
use crate::office::{Charter, OfficeId};
use crate::store::record::Domain;
use crate::store::state_files::CHARTER;
use crate::store::{DiskError, Store};

const CHAIN: &str = "chain";
const BOOK: &str = "book";
const EXPELLED: &str = "expelled";
const INVITES: &str = "invites";
const MEMBERS: &str = "members";
const ROOT: &str = "root";

/// An invitation as its registrar keeps it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Invitation {
    pub(crate) secret: [u8; 16],
    pub(crate) role: Role,
    /// How many may still come.
    pub(crate) left: u32,
    pub(crate) expires: u64,
    /// A short name of the secret of the office when it was made: another one ends it.
    pub(crate) mark: [u8; 8],
    /// Who came with it: to come again takes nothing away.
    pub(crate) used: Vec<[u8; 32]>,
}

impl Drop for Invitation {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

/// See the module's text.
pub(crate) struct OfficeFiles {
    /// The store, as the office sees it.
    pub(crate) store: Store,
    pub(crate) keypair: Keypair,
    pub(crate) chain: Chain,
    pub(crate) book: TrustState,
    pub(super) invites: Vec<Invitation>,
    pub(crate) members: Members,
}

fn corrupt(store: &Store, name: &str) -> DiskError {
    DiskError::corrupt(&store.folder().join(name), "what is kept of the office is damaged")
}

impl OfficeFiles {
    /// What is kept of an office.
    ///
    /// # Errors
    /// The disk, or it is damaged.
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

    /// What an office is called.
    pub(crate) fn name(store: &Store, id: OfficeId) -> Option<String> {
        let charter = store.within(Domain::Office(id)).kept(CHARTER)?;
        Some(Charter::decode(&charter).ok()?.name)
    }

    /// Begins with an office: a folder and a key. Nothing else is written yet.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn begin(store: &Store, id: OfficeId) -> Result<(Store, Keypair), DiskError> {
        let store = store.within(Domain::Office(id));
        store.make_folder()?;
        let keypair = identity::load(&store.folder())?;
        Ok((store, keypair))
    }

    /// Writes what makes a node a member. The charter comes last: without it there is no office here.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn settle(store: &Store, book: &TrustState, chain: &Chain) -> Result<(), DiskError> {
        keep_chain(store, chain)?;
        keep_book(store, book)?;
        store.keep(CHARTER, &book.charter().encode())
    }
}

pub(super) fn keep_chain(store: &Store, chain: &Chain) -> Result<(), DiskError> {
    store.keep(CHAIN, &postcard::to_allocvec(chain).unwrap_or_default())
}

pub(super) fn keep_book(store: &Store, book: &TrustState) -> Result<(), DiskError> {
    let told: Vec<&Statement> = book.all().collect();
    // First who had to leave: that is never forgotten, whatever else is.
    store.keep(EXPELLED, &postcard::to_allocvec(book.expelled()).unwrap_or_default())?;
    store.keep(BOOK, &postcard::to_allocvec(&told).unwrap_or_default())
}

pub(super) fn keep_invites(store: &Store, invites: &[Invitation]) -> Result<(), DiskError> {
    store.keep(INVITES, &Zeroizing::new(postcard::to_allocvec(invites).unwrap_or_default()))
}

pub(super) fn keep_members(store: &Store, members: &Members) -> Result<(), DiskError> {
    store.keep(MEMBERS, &members.write())
}

/// The root's key, locked.
pub(crate) fn keep_root(store: &Store, locked: &[u8]) -> Result<(), DiskError> {
    store.keep(ROOT, locked)
}

/// The same.
pub(crate) fn root(store: &Store) -> Option<Vec<u8>> {
    store.kept(ROOT)
}
