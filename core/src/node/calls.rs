//! The typed calls of a node.

use super::{Caller, Node};
use crate::api::call::{
    Allow, Call, CollectGarbage, Diagnose, Garbage, GetStatus, Inspect, ListEntries, ListPeers, ListStore,
    PeerList, Remove, Removed, Verify,
};
use crate::api::command::{Destination, Get, Publish};
use crate::api::event::{BlobRow, Done, EntryRow, Info, Published, Verified};
use crate::api::job::Job;
use crate::api::reader::ContentReader;
use crate::api::status::{Diagnosis, Status};
use crate::options::Audience;

impl Caller {
    /// Starts a typed call; see [`Node::ask`].
    pub fn ask<C: Call>(&self, call: C) -> Job<C::Answer> {
        Job::over::<C>(self.start(call.command()))
    }
}

/// Calls. Each one starts at once and returns a [`Job`]: await it for the answer, or drop it to cancel. The
/// errors of all of them are [`Failure`](crate::api::event::Failure)s. They must be made on a tokio runtime.
///
/// Calls about offices are in [`api::call::office`](crate::api::call::office); [`Node::ask`] starts them.
///
/// Ids are given as a [`ContentId`](crate::id::ContentId), as 64 hex digits, as a unique prefix of an id in
/// the store, or as a link.
impl Node {
    /// Starts any typed call. The methods below are short forms of it.
    pub fn ask<C: Call>(&self, call: C) -> Job<C::Answer> {
        self.caller.ask(call)
    }

    /// Hashes a file or directory and serves it from then on, for as long as the node runs.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use swarm_core::{Node, Options, Publish};
    ///
    /// let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("hello.txt"), "hello")?;
    /// swarm_core::runtime()?.block_on(async {
    ///     let node = Node::start(Options::new(folder.path().join("home")).offline()).await?;
    ///     let published = node.publish(Publish::new(folder.path().join("hello.txt"))).await?;
    ///     assert_eq!(published.blob.id, blake3::hash(b"hello").to_string());
    ///     node.stop().await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn publish(&self, publish: Publish) -> Job<Published> {
        self.ask(publish)
    }

    /// Fetches content from every holder at once, and puts it in place verified.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use swarm_core::{Get, Node, Options, Publish};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let options = |home| {
    ///     let options = Options::new(folder.path().join(home)).listen("/ip4/127.0.0.1/tcp/0");
    ///     options.without_mdns().without_dht()
    /// };
    /// std::fs::write(folder.path().join("original"), "hello")?;
    /// swarm_core::runtime()?.block_on(async {
    ///     let (alice, bob) = (Node::start(options("alice")).await?, Node::start(options("bob")).await?);
    ///     let published = alice.publish(Publish::new(folder.path().join("original"))).await?;
    ///     // The link holds the address of the publisher.
    ///     let done = bob.get(Get::new(published.link).output(folder.path().join("copy"))).await?;
    ///     assert_eq!(std::fs::read(done.path)?, b"hello");
    ///     alice.stop().await;
    ///     bob.stop().await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn get(&self, get: Get) -> Job<Done> {
        self.ask(get)
    }

    /// Fetches a file into the store and returns its bytes in order while they arrive. The destination of the
    /// request is not used.
    pub fn cat(&self, get: Get) -> ContentReader {
        ContentReader::over(self.ask(get.destination(Destination::Store)))
    }

    /// Lists the blobs of the store, sorted by name.
    pub fn list(&self) -> Job<Vec<BlobRow>> {
        self.ask(ListStore)
    }

    /// Lists the entries of a directory in the store. A file gives one entry with its own name.
    pub fn entries(&self, id: impl Into<String>) -> Job<Vec<EntryRow>> {
        self.ask(ListEntries { id: id.into() })
    }

    /// Describes one blob of the store.
    pub fn info(&self, id: impl Into<String>) -> Job<Info> {
        self.ask(Inspect { id: id.into() })
    }

    /// Removes a blob from the store. Bytes that the store holds are deleted; files that are served in place
    /// are left alone.
    pub fn remove(&self, id: impl Into<String>) -> Job<Removed> {
        self.ask(Remove { id: id.into() })
    }

    /// Reads blobs again and compares them with their hashes.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use swarm_core::{Node, Options, Publish, Verify};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let file = folder.path().join("file");
    /// std::fs::write(&file, "hello")?;
    /// swarm_core::runtime()?.block_on(async {
    ///     let node = Node::start(Options::new(folder.path().join("home")).offline()).await?;
    ///     let id = node.publish(Publish::new(&file)).await?.blob.id;
    ///     assert!(node.verify(Verify::one(&id)).await?.bad.is_empty());
    ///     std::fs::write(&file, "jello")?;
    ///     assert_eq!(node.verify(Verify::all()).await?.bad, [(id.clone(), 1)]);
    ///     node.remove(&id).await?;
    ///     assert!(node.list().await?.is_empty());
    ///     node.stop().await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn verify(&self, verify: Verify) -> Job<Verified> {
        self.ask(verify)
    }

    /// Deletes files of the store that nothing refers to; with `dry_run` they are only listed.
    pub fn collect_garbage(&self, dry_run: bool) -> Job<Garbage> {
        self.ask(CollectGarbage { dry_run })
    }

    /// Sets the peers that may fetch a blob; `None` for the default of the node.
    pub fn allow(&self, id: impl Into<String>, audience: Option<Audience>) -> Job<Info> {
        self.ask(Allow { id: id.into(), audience })
    }

    /// Reports the state of the node.
    pub fn status(&self) -> Job<Status> {
        self.ask(GetStatus)
    }

    /// Lists connected and banned peers.
    pub fn peers(&self) -> Job<PeerList> {
        self.ask(ListPeers)
    }

    /// Says why a download waits or is slow, and which holders each way of finding them has found.
    pub fn diagnose(&self, id: impl Into<String>) -> Job<Diagnosis> {
        self.ask(Diagnose { id: id.into() })
    }
}
