//! What every job gets: the store, the networks, and who may fetch what nothing else was set for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::actor::NetworkCommand;
use super::network::Net;
use super::networks::{self, Networks};
use crate::options::Audience;
use crate::store::Store;
use crate::store::record::{Domain, Record};

/// What every job gets.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) net: Option<Net>,
    pub(crate) home: PathBuf,
    pub(crate) started: Instant,
    /// Who may fetch what nothing was said of, if the node's owner says.
    pub(crate) said: Option<Audience>,
    /// Where this job is at work; `net` is the network of that.
    pub(crate) domain: Domain,
    /// The network of all nodes.
    pub(crate) public: Option<Net>,
    pub(crate) offices: Arc<Networks>,
}

impl Context {
    /// Who may fetch what nothing was said of, in the network of all nodes. Once a node is of an office, that has to be said.
    pub(super) fn public_default(&self) -> Audience {
        let unsaid = if self.offices.is_empty() { Audience::Lan } else { Audience::Nobody };
        match self.said {
            None => unsaid,
            Some(Audience::Office) => Audience::Nobody,
            Some(said) => said,
        }
    }

    /// This node is of an office, and nothing was said of what others may fetch.
    pub(super) fn is_unsaid(&self) -> bool {
        !self.offices.is_empty() && matches!(self.said, None | Some(Audience::Office))
    }

    /// The same in an office.
    pub(super) fn office_default(&self) -> Audience {
        match self.said {
            None | Some(Audience::Anyone) => Audience::Office,
            Some(said) => said,
        }
    }

    /// Who may fetch this.
    pub(crate) fn audience(&self, record: &Record) -> Audience {
        if record.domains.is_empty() {
            return Audience::Nobody;
        }
        let unsaid = if record.office().is_some() { self.office_default() } else { self.public_default() };
        self.store.audience(record.id).unwrap_or(unsaid)
    }

    /// Tells the network of all nodes who may fetch what nothing was said of.
    pub(super) async fn say_default(&self) {
        if let Some(net) = self.public.as_ref().or(self.net.as_ref()) {
            net.ask(NetworkCommand::Default(self.public_default())).await;
        }
    }

    /// The same job, at work in an office.
    pub(crate) fn within(mut self, office: &networks::JoinedOffice) -> Self {
        self.domain = Domain::Office(office.id);
        self.public = self.public.take().or_else(|| self.net.take());
        self.net = Some(office.net.clone());
        self
    }

    /// All networks of this node.
    pub(super) fn nets(&self) -> Vec<Net> {
        let public = self.public.clone().or_else(|| self.net.clone());
        public.into_iter().chain(self.offices.all().into_iter().map(|office| office.net)).collect()
    }

    /// The same is said to all networks of this node.
    pub(super) async fn ask_all(&self, ask: impl Fn() -> NetworkCommand) {
        for net in self.nets() {
            net.ask(ask()).await;
        }
    }
}
