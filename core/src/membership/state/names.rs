//! Members by name: the directory answers, and others are asked about names that it does not know.

use tokio::sync::oneshot;

use super::OfficeState;
use crate::limits;
use crate::membership::error::OfficeError;
use crate::office::certificate::Chain;
use crate::signed::PublicKey;

/// A command that waits until it is clear which member a name means.
#[derive(Debug)]
pub(super) struct NameSearch {
    name: String,
    /// Takes true once it is clear, false if the search is not possible. Closed when the command stops
    /// waiting.
    reply: oneshot::Sender<bool>,
}

impl OfficeState {
    /// Returns the chains of members that a name may mean, for a member that asks.
    pub(crate) fn called(&self, name: &str) -> Vec<Chain> {
        self.members.called(name, |key| self.book.expelled().names(key))
    }

    /// Records members that another one named in answer to a search. Invalid chains are ignored.
    pub(crate) fn told_of(&mut self, chains: impl IntoIterator<Item = Chain>, at: u64) {
        for chain in chains {
            if let Ok(certificate) = self.book.verify(&chain, at) {
                self.members.met(&certificate, &chain, 0);
            }
        }
        self.answer_searches();
    }

    /// Returns the member that a name means.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] or [`OfficeError::Ambiguous`].
    pub(super) fn find(&self, name: &str) -> Result<PublicKey, OfficeError> {
        self.members.find(name, |key, serial| self.book.expelled().by_anybody(key, serial))
    }

    /// Begins a search for the member that a name means. Returns true if other members must be asked. The
    /// reply takes true as soon as the meaning is clear, and false if the name is too long or too many
    /// commands search.
    pub(crate) fn search(&mut self, name: &str, reply: oneshot::Sender<bool>) -> bool {
        self.drop_abandoned();
        let known = self.find(name).is_ok();
        let possible =
            name.len() <= limits::OFFICE_NAME_BYTES && self.searches.len() < limits::OFFICE_SEARCHES;
        if known || !possible {
            let _ = reply.send(known);
            return false;
        }
        self.searches.push(NameSearch { name: name.to_owned(), reply });
        true
    }

    /// Returns the names that are searched for.
    pub(crate) fn searched(&self) -> impl Iterator<Item = &str> {
        self.searches.iter().map(|search| search.name.as_str())
    }

    /// Answers the searches whose names are clear by now.
    pub(super) fn answer_searches(&mut self) {
        for search in std::mem::take(&mut self.searches) {
            if self.find(&search.name).is_ok() {
                let _ = search.reply.send(true);
            } else {
                self.searches.push(search);
            }
        }
    }

    /// Answers a command once a member is connected, or at once if too many commands wait for one.
    pub(crate) fn await_member(&mut self, reply: oneshot::Sender<()>) {
        self.drop_abandoned();
        if self.awaiting.len() < limits::OFFICE_SEARCHES {
            self.awaiting.push(reply);
        } else {
            let _ = reply.send(());
        }
    }

    /// Answers the commands that wait until a member is connected.
    pub(crate) fn member_arrived(&mut self) {
        for reply in self.awaiting.drain(..) {
            let _ = reply.send(());
        }
    }

    /// Forgets commands that have stopped waiting.
    pub(super) fn drop_abandoned(&mut self) {
        self.searches.retain(|search| !search.reply.is_closed());
        self.awaiting.retain(|reply| !reply.is_closed());
    }
}
