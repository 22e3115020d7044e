//! The blob of a simulated host: which chunks it has, without their bytes.

use std::cell::RefCell;
use std::rc::Rc;

use swarm_core::content::bitmap::Bitmap;
use swarm_core::content::geometry::{ChunkIndex, Geometry};
use swarm_core::content::kind::ContentKind;
use swarm_core::exchange::OpenBlob;
use swarm_core::id::ContentId;

/// The blob of every world.
pub(super) const ID: ContentId = ContentId::from_bytes([7; 32]);

/// A host's blob, as its downloads and uploads see it.
#[derive(Debug, Clone)]
pub(super) struct HostBlob {
    pub(super) geometry: Geometry,
    pub(super) origin: bool,
    /// The host says that it has all.
    pub(super) boasts: bool,
    /// The chunks that it has.
    pub(super) have: Rc<RefCell<Bitmap>>,
}

impl OpenBlob for HostBlob {
    fn id(&self) -> ContentId {
        ID
    }

    fn kind(&self) -> ContentKind {
        ContentKind::File
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn have(&self) -> Bitmap {
        if self.boasts { Bitmap::full(self.geometry.chunks()) } else { self.have.borrow().clone() }
    }

    fn has(&self, chunk: ChunkIndex) -> bool {
        self.boasts || self.have.borrow().get(chunk.get())
    }

    fn skipped(&self) -> Option<Bitmap> {
        None
    }

    fn is_origin(&self) -> bool {
        self.origin
    }

    fn offered_name(&self) -> Option<&str> {
        None
    }
}
