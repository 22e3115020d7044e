//! Gossip of signed statements between the peers of a network.
//!
//! Peers keep a set of statements equal. When two of them meet, each sends the digest of its set. A peer that
//! receives another digest than its own sends all of its statements. A statement that is new is passed on to
//! all other peers at once. [`StatementSet`] says what a set contains and which statements it believes;
//! nothing here knows what they mean. Two limits hold for all sets together: a peer that sends too many
//! messages loses its session ([`Actor::may_say`]), and messages to a peer wait their turn
//! ([`crate::transfer::peers::Peers::send`]).

use std::fmt::Display;
use std::time::Instant;

use super::Actor;
use crate::schedule::PeerKey;
use crate::signed::Statement;
use crate::transfer::peers::Parting;
use crate::wire::Message;

/// A set of statements that peers keep equal.
pub(super) trait StatementSet {
    /// The effect of a new statement, which the caller carries out.
    type News;
    /// The reason why a statement is not believed.
    type Refusal: Display;

    /// Returns all statements in the order in which a peer must hear them.
    fn statements(&self) -> impl Iterator<Item = &Statement>;

    /// Believes a statement that a peer passed on. `at` is in seconds since 1970. Returns `None` if nothing
    /// is new.
    ///
    /// # Errors
    /// The statement is not believed and has no effect.
    fn hear(&mut self, statement: &Statement, at: u64) -> Result<Option<Self::News>, Self::Refusal>;
}

/// Returns the digest of a set: the BLAKE3 of the BLAKE3s of its statements, in their order.
fn digest(set: &impl StatementSet) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for one in set.statements() {
        hasher.update(blake3::hash(&one.statement).as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Returns the message to a peer that has just introduced itself.
pub(super) fn greeting(set: &impl StatementSet) -> Message {
    Message::StateDigest(digest(set))
}

/// Returns the messages to a peer with this digest: all statements, or nothing if its set is equal.
pub(super) fn answer(set: &impl StatementSet, theirs: [u8; 32]) -> Vec<Message> {
    if theirs == digest(set) {
        return Vec::new();
    }
    set.statements().cloned().map(Message::Statement).collect()
}

/// Believes a statement of a peer. Returns what is new; a statement with news must be passed on.
pub(super) fn hear<S: StatementSet>(set: &mut S, statement: &Statement, at: u64) -> Option<S::News> {
    match set.hear(statement, at) {
        Ok(news) => news,
        // A peer may pass on the statement of a signer that was expelled since, because it has not heard of
        // that.
        Err(error) => {
            tracing::debug!(%error, topic = ?statement.topic, "a statement of a peer is not believed");
            None
        }
    }
}

impl Actor {
    /// Sends a message to all peers that have introduced themselves, except `but`.
    pub(super) fn tell_all(&mut self, message: &Message, but: Option<PeerKey>) {
        for key in self.peers.ready() {
            if Some(key) != but {
                self.peers.send(key, message.clone());
            }
        }
    }

    /// Counts a message of a peer, because each one costs something: to check signatures, to send all
    /// statements, to search names. Returns false, and ends the session, if the peer sends too many.
    pub(super) fn may_say(&mut self, key: PeerKey) -> bool {
        let Some(peer) = self.peers.get_mut(key) else { return false };
        let may = peer.may_say(Instant::now());
        if !may {
            self.peers.part(key, "it says too much about the office", Parting::Ours);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::signed::Topic;

    /// A set that believes every statement that does not begin with 0.
    #[derive(Default)]
    struct Set(Vec<Statement>);

    impl StatementSet for Set {
        type News = usize;
        type Refusal = &'static str;

        fn statements(&self) -> impl Iterator<Item = &Statement> {
            self.0.iter()
        }

        fn hear(&mut self, statement: &Statement, _: u64) -> Result<Option<usize>, &'static str> {
            if statement.statement.first() == Some(&0) {
                return Err("begins with 0");
            }
            if self.0.contains(statement) {
                return Ok(None);
            }
            self.0.push(statement.clone());
            self.0.sort_by(|one, other| one.statement.cmp(&other.statement));
            Ok(Some(self.0.len()))
        }
    }

    fn statement(of: u8) -> Statement {
        Statement { topic: Topic::Expulsion, by: Vec::new(), statement: vec![of, 1] }
    }

    fn set(of: &[u8]) -> Set {
        Set(of.iter().copied().map(statement).collect())
    }

    /// Carries out a meeting of two peers.
    fn meet(one: &mut Set, other: &mut Set) -> usize {
        let [Message::StateDigest(first), Message::StateDigest(second)] = [greeting(one), greeting(other)]
        else {
            panic!("a greeting is a digest");
        };
        let (to_one, to_other) = (answer(other, first), answer(one, second));
        for (set, messages) in [(one, &to_one), (other, &to_other)] {
            for message in messages {
                let Message::Statement(statement) = message else { panic!("{message:?}") };
                hear(set, statement, 1);
            }
        }
        to_one.len() + to_other.len()
    }

    #[test]
    fn sets_that_differ_are_equal_after_a_meeting_and_then_silent() {
        let (mut one, mut other) = (set(&[1, 2, 3]), set(&[2, 9]));
        assert_eq!(meet(&mut one, &mut other), 5);
        assert_eq!(one.0, set(&[1, 2, 3, 9]).0);
        assert_eq!(one.0, other.0);
        assert_eq!(meet(&mut one, &mut other), 0);
        assert_eq!(meet(&mut Set::default(), &mut Set::default()), 0);
    }

    #[test]
    fn statements_are_told_in_their_order() {
        let told = answer(&set(&[1, 5, 3]), [0; 32]);
        assert_eq!(told, [1, 5, 3].map(|of| Message::Statement(statement(of))));
    }

    #[test]
    fn only_what_is_believed_and_new_is_news() {
        let mut set = set(&[1]);
        assert_eq!(hear(&mut set, &statement(1), 1), None);
        assert_eq!(hear(&mut set, &statement(0), 1), None);
        assert_eq!(hear(&mut set, &statement(2), 1), Some(2));
    }

    /// The digest travels between versions, so it never changes.
    #[test]
    fn the_digest_is_the_hash_of_hashes() {
        let hash = |bytes: &[u8]| *blake3::hash(bytes).as_bytes();
        let all = [hash(&[1, 1]), hash(&[2, 1])].concat();
        assert_eq!(digest(&set(&[1, 2])), hash(&all));
        assert_ne!(digest(&set(&[1, 2])), digest(&set(&[2, 1])));
    }
}
