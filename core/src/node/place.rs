//! In which network a job is at work.

use super::command::Network;
use super::event::{Failure, Fault};
use super::{Context, failure};
use crate::content::link::Link;
use crate::id::ContentId;
use crate::options::Audience;
use crate::store::record::{Domain, State};

/// Hex digits of an office's id in a link.
const TAG: usize = 16;

/// What a link says of the office that its content is of.
pub(super) fn tag(domain: Domain) -> Option<String> {
    match domain {
        Domain::Public => None,
        Domain::Office(id) => id.to_string().get(..TAG).map(ToOwned::to_owned),
    }
}

impl Context {
    /// For something that is to be offered.
    pub(super) fn for_offering(self, network: &Network, serve: Option<Audience>) -> Result<Self, Failure> {
        let context = match network {
            Network::Public => self,
            // Who says that anyone may have it has not published it into an office by mistake.
            Network::Usual | Network::Own if self.offices.is_empty() || serve == Some(Audience::Anyone) => {
                self
            }
            Network::Usual | Network::Own => self.in_office(None)?,
            Network::Office(name) => self.in_office(Some(name))?,
        };
        match (context.domain, serve) {
            (Domain::Office(_), Some(Audience::Anyone)) => Err(Failure {
                hint: Some("--public publishes it for others".to_owned()),
                ..failure(Fault::User, "what is published into an office is for its members, not for anyone")
            }),
            (Domain::Public, Some(Audience::Office)) => {
                // Says that there is none, or that several are.
                context.in_office(None)?;
                Err(failure(Fault::User, "what is published with --public is of no office"))
            }
            _ => Ok(context),
        }
    }

    /// For something that is to be fetched. What is here stays where it is; a link that leads somewhere is believed.
    pub(super) fn for_fetching(self, network: &Network, link: &Link) -> Result<Self, Failure> {
        let leads = !(link.peers.is_empty()
            && link.trackers.is_empty()
            && link.dht.is_empty()
            && link.webseeds.is_empty());
        let context = match (network, &link.office) {
            (Network::Public, _) => Ok(self),
            (Network::Office(name), _) => self.in_office(Some(name)),
            (_, Some(tag)) if self.offices.is_known(tag) => self.in_office(Some(tag)),
            (_, Some(_)) => {
                Err(failure(Fault::User, "the link is of an office, and this node is not of that one"))
            }
            (_, None) if self.is_here(link.id) => self.where_it_is(link.id),
            (_, None) if self.offices.is_empty() => Ok(self),
            (Network::Usual, None) if leads => Ok(self),
            (_, None) => self.in_office(None),
        }?;
        // Before anybody is asked for it.
        let begun = context.store.record(link.id).filter(|record| record.state == State::Partial);
        if begun.is_some_and(|record| !record.domains.is_empty() && !record.is_of(context.domain)) {
            return Err(failure(
                Fault::User,
                format!("{} is being fetched in another network: swarm rm it first, or go on there", link.id),
            ));
        }
        Ok(context)
    }

    fn is_here(&self, id: ContentId) -> bool {
        self.store.record(id).is_some_and(|record| !record.domains.is_empty())
    }

    /// For something that is here.
    pub(super) fn where_it_is(self, id: ContentId) -> Result<Self, Failure> {
        let Some(record) = self.store.record(id) else { return Ok(self) };
        match record.office() {
            None => Ok(self),
            Some(office) => match self.offices.get(office) {
                Some(office) => Ok(self.within(&office)),
                // Only the store is looked at.
                None if self.net.is_none() => Ok(self),
                None => Err(failure(Fault::User, "it is of an office that cannot be used at present")),
            },
        }
    }

    fn in_office(self, name: Option<&str>) -> Result<Self, Failure> {
        let office = self.offices.find(name)?;
        if let Some(trouble) = office.trouble() {
            let shown = crate::content::path::escape(&office.name);
            let hint = Some("a new invitation makes it a member again: swarm office join".to_owned());
            return Err(Failure { hint, ..failure(Fault::User, format!("{shown}: {trouble}")) });
        }
        Ok(self.within(&office))
    }
}
