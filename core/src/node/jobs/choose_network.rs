//! Chooses the network that a job works in.

use super::super::actor::NetworkCommand;
use super::super::context::Context;
use super::super::network::{blocking, failure};
use super::store_failure;
use crate::api::command::Network;
use crate::api::event::{Failure, Fault};
use crate::content::link::Link;
use crate::id::ContentId;
use crate::options::Audience;
use crate::store::record::{Domain, Record, StoredState};

/// Hex digits of an office's id in a link.
const TAG: usize = 16;

/// Returns the tag of an office for links, the first digits of its id; `None` for the public network.
pub(crate) fn tag(domain: Domain) -> Option<String> {
    match domain {
        Domain::Public => None,
        Domain::Office(id) => id.to_string().get(..TAG).map(ToOwned::to_owned),
    }
}

/// Returns true if a link says where holders may be found.
fn leads(link: &Link) -> bool {
    !(link.peers.is_empty() && link.trackers.is_empty() && link.dht.is_empty() && link.webseeds.is_empty())
}

impl Context {
    /// Returns the context for content to be offered.
    pub(in crate::node) fn for_offering(
        self,
        network: &Network,
        serve: Option<Audience>,
    ) -> Result<Self, Failure> {
        let context = match network {
            Network::Public => self,
            // Content for anyone was not meant for an office.
            Network::Usual | Network::Own if self.offices.is_empty() || serve == Some(Audience::Anyone) => {
                self
            }
            Network::Usual | Network::Own => self.in_office(None)?,
            Network::Office(name) => self.in_office(Some(name))?,
        };
        match (context.domain, serve) {
            (Domain::Office(_), Some(Audience::Anyone)) => Err(Failure {
                hint: Some("--public shares it outside the office".to_owned()),
                ..failure(Fault::User, "in an office only members can fetch, not anyone")
            }),
            (Domain::Public, Some(Audience::Office)) => {
                // Fails with the reason: there is no office, or there are several.
                context.in_office(None)?;
                Err(failure(Fault::User, "--public and --serve office cannot be combined"))
            }
            _ => Ok(context),
        }
    }

    /// Returns the context for content to be fetched. Content that is here stays in its network; otherwise a
    /// link with hints decides.
    pub(in crate::node) fn for_fetching(self, network: &Network, link: &Link) -> Result<Self, Failure> {
        match (network, &link.office) {
            (Network::Public, _) => Ok(self),
            (Network::Office(name), _) => self.in_office(Some(name)),
            (_, Some(tag)) if self.offices.is_known(tag) => self.in_office(Some(tag)),
            (_, Some(_)) => Err(failure(Fault::User, "this link is for an office that this node is not in")),
            (_, None) if self.is_here(link.id) => self.where_it_is(link.id),
            (_, None) if self.offices.is_empty() => Ok(self),
            (Network::Usual, None) if leads(link) => Ok(self),
            (_, None) => self.in_office(None),
        }
    }

    /// Returns true if neither the command nor the link says in which network the content is.
    pub(crate) fn is_open(&self, network: &Network, link: &Link) -> bool {
        let said = match network {
            Network::Usual => leads(link),
            // The hints come from the command line, and hold for every network.
            Network::Own => false,
            Network::Public | Network::Office(_) => true,
        };
        !said && link.office.is_none()
    }

    /// Returns the offices in which content is looked for as well that was begun in the public network and is
    /// not complete.
    pub(in crate::node) fn offices_for(&self, id: ContentId) -> Vec<Self> {
        let begun = self.store.record(id).filter(|record| record.domains == [Domain::Public]);
        if begun.is_none() || self.store.is_whole(id) || self.domain != Domain::Public {
            return Vec::new();
        }
        let usable = self.offices.all().into_iter().filter(|office| office.trouble().is_none());
        usable.map(|office| self.clone().within(&office)).collect()
    }

    /// Takes a download over from another network. It belongs to this network alone from then on, because
    /// bytes from the members of an office are offered to nobody else.
    pub(in crate::node) async fn take_over(&self, id: ContentId) -> Result<(), Failure> {
        let elsewhere = |r: &Record| !r.domains.is_empty() && !r.is_of(self.domain);
        let Some(record) = self.store.record(id).filter(elsewhere) else { return Ok(()) };
        if self.store.is_whole(id) || matches!(record.state, StoredState::Changed | StoredState::Missing) {
            return Ok(());
        }
        let parts: Vec<ContentId> = record.payload.map(|p| p.id).into_iter().chain([id]).collect();
        for other in self.networks() {
            let Some(net) = other.net.as_ref().filter(|_| other.domain != self.domain) else { continue };
            let active = net
                .question(NetworkCommand::Report)
                .await
                .is_some_and(|report| report.transfers.iter().any(|(of, _)| parts.contains(of)));
            if active {
                let name = other.network_name();
                let text = format!("another command is fetching {id} from {name}: end it first");
                return Err(failure(Fault::User, text));
            }
        }
        let (store, domain) = (self.store.clone(), self.domain);
        blocking(move || store.move_part_to(id, domain)).await?.map_err(store_failure)?;
        for part in parts {
            self.ask_all(|| NetworkCommand::Withdraw(part)).await;
        }
        Ok(())
    }

    /// Returns the context in each network of the node.
    pub(crate) fn networks(&self) -> Vec<Self> {
        let net = self.public.clone().or_else(|| self.net.clone().filter(|_| self.domain == Domain::Public));
        let public = Self { domain: Domain::Public, net, public: None, ..self.clone() };
        let offices = self.offices.all();
        std::iter::once(public.clone()).chain(offices.iter().map(|o| public.clone().within(o))).collect()
    }

    /// Returns the name of the job's network, for people.
    pub(in crate::node) fn network_name(&self) -> String {
        self.name_of(self.domain)
    }

    /// Returns the name of a network of this node, for people.
    pub(crate) fn name_of(&self, domain: Domain) -> String {
        match domain {
            Domain::Public => "the public network".to_owned(),
            Domain::Office(id) => match self.offices.get(id) {
                Some(office) => format!("the office {}", crate::content::path::escape(&office.name)),
                None => "an office that cannot be used now".to_owned(),
            },
        }
    }

    fn is_here(&self, id: ContentId) -> bool {
        self.store.record(id).is_some_and(|record| !record.domains.is_empty())
    }

    /// Returns the context in the network of content that is here.
    pub(in crate::node) fn where_it_is(self, id: ContentId) -> Result<Self, Failure> {
        let Some(record) = self.store.record(id) else { return Ok(self) };
        match record.office() {
            None => Ok(self),
            Some(office) => match self.offices.get(office) {
                Some(office) => Ok(self.within(&office)),
                // An offline node only looks at the store.
                None if self.net.is_none() => Ok(self),
                None => Err(failure(Fault::User, "it belongs to an office that cannot be used now")),
            },
        }
    }

    fn in_office(self, name: Option<&str>) -> Result<Self, Failure> {
        let office = self.offices.find(name)?;
        if let Some(trouble) = office.trouble() {
            let shown = crate::content::path::escape(&office.name);
            let hint = Some("to become a member again, get a new invitation: swarm office join".to_owned());
            return Err(Failure { hint, ..failure(Fault::User, format!("{shown}: {trouble}")) });
        }
        Ok(self.within(&office))
    }
}
