//! Networks of a blob: content of one network is not offered in another.

use super::record::{Domain, Record, StoredState};
use super::{Store, StoreError};
use crate::id::ContentId;

impl Store {
    /// Takes a blob out of a network. A blob without any network is offered nowhere until it is published or
    /// fetched anew.
    ///
    /// # Errors
    /// The disk.
    pub fn leave(&self, id: ContentId, domain: Domain) -> Result<(), StoreError> {
        self.within(domain).drop_voucher(id)?;
        Ok(self.replace(id, |record| {
            let mut record = record?;
            record.domains.retain(|of| *of != domain);
            if record.domains.is_empty() {
                // The audience was meant for the members.
                record.audience = None;
            }
            Some(record)
        })?)
    }

    /// Moves a partial or complete blob of another network, and its payload, to this one, which is its only
    /// network from then on. Bytes that came from an office stay there.
    ///
    /// # Errors
    /// [`StoreError::User`] if some bytes came from an office, or the disk.
    pub fn move_part_to(&self, id: ContentId, domain: Domain) -> Result<(), StoreError> {
        let Some(record) = self.record(id) else { return Ok(()) };
        let payload = record.payload.and_then(|p| self.record(p.id)).filter(|p| p.of == Some(id));
        let parts: Vec<Record> = payload.into_iter().chain([record]).filter(|r| !r.is_of(domain)).collect();
        let has_bytes =
            |r: &Record| r.len > 0 && (r.state != StoredState::Partial || self.verified(r.id) > 0);
        if parts.iter().any(|part| part.office().is_some() && has_bytes(part)) {
            let short = id.short();
            return Err(StoreError::User(format!(
                "{id} was begun in an office, and what came from there is not offered elsewhere: go on there with \
                 --office NAME, or forget what is here of it with swarm rm {short}"
            )));
        }
        for part in parts {
            // The audience was meant for other peers.
            let moved = |r: Option<Record>| r.map(|r| Record { domains: vec![domain], audience: None, ..r });
            self.replace(part.id, moved)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::content::geometry::Geometry;
    use crate::content::kind::ContentKind;
    use crate::content::tree::HashList;
    use crate::office::OfficeId;
    use crate::options::Audience;
    use crate::store::{Begin, WriteTarget};

    fn begin(store: &Store, bytes: &[u8], domain: Domain) -> std::sync::Arc<crate::store::Blob> {
        let list = HashList::of(ContentKind::File, Geometry::new(bytes.len() as u64).unwrap(), bytes);
        let (name, target, audience) = ("f".to_owned(), WriteTarget::Store, Some(Audience::Anyone));
        store.begin(Begin { list, name, target, of: None, audience, seal: None, domain }).unwrap()
    }

    #[test]
    fn what_was_begun_in_public_goes_on_in_an_office_and_not_the_other_way_round() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), None, false).unwrap();
        let offices = [1, 2].map(|n| Domain::Office(OfficeId::from_bytes([n; 32])));
        let bytes = vec![7; 200_000];
        let blob = begin(&store, &bytes, Domain::Public);
        let id = blob.id();
        let chunk = blob.geometry().chunk(0).unwrap();
        blob.write(chunk, &mut bytes[..blob.geometry().size(chunk)].to_vec()).unwrap();
        store.written(&blob, 0);
        drop(blob);
        store.move_part_to(id, offices[0]).unwrap();
        let record = store.record(id).unwrap();
        assert_eq!(
            (record.domains, record.audience),
            (vec![offices[0]], None),
            "what was said was said of others"
        );
        assert!(store.within(Domain::Public).record(id).is_none());
        let again = begin(&store, &bytes, offices[0]);
        assert!(again.has(chunk), "what is verified is kept");
        drop(again);
        for other in [Domain::Public, offices[1]] {
            let refused = store.move_part_to(id, other).unwrap_err().to_string();
            assert!(refused.contains("begun in an office"), "{refused}");
        }
        assert!(store.verified(id) > 0);
        std::fs::remove_file(store.inner.layout.data(id, false)).unwrap();
        assert_eq!(store.verified(id), 0, "what a person is told is what the disk has");
        // Nothing came from the office.
        let empty = begin(&store, &vec![8; 200_000], offices[0]).id();
        store.move_part_to(empty, Domain::Public).unwrap();
        assert!(store.record(empty).unwrap().is_of(Domain::Public));
    }
}
