//! The surroundings of a job: the store, the networks, and the default audiences.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::actor::NetworkCommand;
use super::detached::Detached;
use super::network::Net;
use super::networks::{self, Networks};
use crate::options::Audience;
use crate::store::Store;
use crate::store::record::{Domain, Record};

/// The surroundings of a job.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) net: Option<Net>,
    pub(crate) home: PathBuf,
    pub(crate) started: Instant,
    /// Configured default audience, if any.
    pub(crate) said: Option<Audience>,
    /// Domain in which the job works; `net` is its network.
    pub(crate) domain: Domain,
    /// The public network, if `net` is that of an office.
    pub(crate) public: Option<Net>,
    pub(crate) offices: Arc<Networks>,
    pub(crate) detached: Arc<Detached>,
}

impl Context {
    /// Returns the default audience in the public network. A node in an office serves nobody there unless an
    /// audience is configured.
    pub(super) fn public_default(&self) -> Audience {
        let unsaid = if self.offices.is_empty() { Audience::Lan } else { Audience::Nobody };
        match self.said {
            None => unsaid,
            Some(Audience::Office) => Audience::Nobody,
            Some(said) => said,
        }
    }

    /// Returns true if the node belongs to an office and no audience for the public network is configured.
    pub(super) fn is_unsaid(&self) -> bool {
        !self.offices.is_empty() && matches!(self.said, None | Some(Audience::Office))
    }

    /// Returns the default audience in an office.
    pub(super) fn office_default(&self) -> Audience {
        match self.said {
            None | Some(Audience::Anyone) => Audience::Office,
            Some(said) => said,
        }
    }

    /// Returns the audience of a blob: its own, otherwise the default of its network. A blob of no network is
    /// for nobody.
    pub(crate) fn audience(&self, record: &Record) -> Audience {
        if record.domains.is_empty() {
            return Audience::Nobody;
        }
        let unsaid = if record.office().is_some() { self.office_default() } else { self.public_default() };
        self.store.audience(record.id).unwrap_or(unsaid)
    }

    /// Tells the public network the default audience.
    pub(super) async fn say_default(&self) {
        if let Some(net) = self.public.as_ref().or(self.net.as_ref()) {
            net.ask(NetworkCommand::Default(self.public_default())).await;
        }
    }

    /// Returns the surroundings of a job in an office.
    pub(crate) fn within(mut self, office: &networks::JoinedOffice) -> Self {
        self.domain = Domain::Office(office.id);
        self.public = self.public.take().or_else(|| self.net.take());
        self.net = Some(office.net.clone());
        self
    }

    /// Returns all networks of this node, the public one first.
    pub(super) fn nets(&self) -> Vec<Net> {
        let public = self.public.clone().or_else(|| self.net.clone());
        public.into_iter().chain(self.offices.all().into_iter().map(|office| office.net)).collect()
    }

    /// Sends a command to all networks of this node.
    pub(super) async fn ask_all(&self, ask: impl Fn() -> NetworkCommand) {
        for net in self.nets() {
            net.ask(ask()).await;
        }
    }
}
