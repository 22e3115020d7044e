//! Blobs as downloads and uploads see them.

use crate::content::bitmap::Bitmap;
use crate::content::geometry::{ChunkIndex, Geometry};
use crate::content::kind::ContentKind;
use crate::id::ContentId;

/// A blob whose chunks can be sent or written, as downloads and uploads see it. Clones are handles to one
/// blob: a chunk that a session writes is here for all of them.
pub trait OpenBlob: Clone {
    /// Returns the id.
    fn id(&self) -> ContentId;
    /// Returns the kind of content that the id names.
    fn kind(&self) -> ContentKind;
    /// Returns the layout of the chunks.
    fn geometry(&self) -> Geometry;
    /// Returns the chunks that are verified here at this moment.
    fn have(&self) -> Bitmap;
    /// True if this chunk is verified here.
    fn has(&self, chunk: ChunkIndex) -> bool;
    /// Returns the chunks that need not be fetched although they are not here; `None` if there are none.
    fn skipped(&self) -> Option<Bitmap>;
    /// True if the blob was published here.
    fn is_origin(&self) -> bool;
    /// Returns the name to offer to others; `None` for encrypted content.
    fn offered_name(&self) -> Option<&str>;

    /// True if nothing of the blob was left out. Others are not offered a blob of which something was.
    fn is_shareable(&self) -> bool {
        self.skipped().is_none()
    }
}
