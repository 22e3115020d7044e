//! Peers, trackers and DHT servers of the command line, for a node that runs already and was started without
//! them: they go with the id, as in a link.

use swarm_core::api::command::{Command, Network};
use swarm_core::content::link::{Link, Target};
use swarm_core::limits::{LINK_DHT, LINK_PEERS, LINK_TRACKERS};
use swarm_core::options::Options;

/// The command with `--peer`, `--tracker` and `--dht` in what it is to fetch, as far as a link holds them.
pub(crate) fn with_hints(mut command: Command, options: &Options) -> Command {
    if let Command::Get(get) | Command::Detach(get) = &mut command
        && let Some(link) = linked(get.target.expose(), options)
    {
        // A bare id is looked for where this node looks for such, whatever else was typed.
        let is_link = matches!(get.target.expose().parse(), Ok(Target::Link(_)));
        if !is_link && get.network == Network::Usual {
            get.network = Network::Own;
        }
        get.target = link.to_string().into();
    }
    command
}

fn linked(target: &str, options: &Options) -> Option<Link> {
    let mut link = match target.parse::<Target>().ok()? {
        Target::Link(link) => link,
        Target::Id(id) => Link::to(id),
        Target::Prefix(_) => return None,
    };
    let before = link.clone();
    let dht = if options.dht { &options.dht_servers[..] } else { &[] };
    let all = [
        (&options.peers[..], &mut link.peers, LINK_PEERS),
        (&options.trackers[..], &mut link.trackers, LINK_TRACKERS),
        (dht, &mut link.dht, LINK_DHT),
    ];
    for (ours, theirs, most) in all {
        // What was typed counts more than what somebody wrote.
        theirs.retain(|addr| !ours.contains(addr));
        theirs.splice(0..0, ours.iter().cloned());
        theirs.truncate(most);
    }
    (link != before).then_some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_goes_with_the_id() {
        let id = "ab".repeat(32);
        let mut options = Options::new("/x");
        assert_eq!(linked(&id, &options), None);
        options.peers = vec!["/ip4/10.0.0.1/tcp/1".to_owned()];
        options.trackers = (0..9).map(|n| format!("/ip4/10.0.0.2/tcp/{n}")).collect();
        options.dht_servers = vec!["/ip4/10.0.0.3/tcp/1".to_owned()];
        let link =
            linked(&format!("swarm:{id}?name=x&peer=/ip4/10.9.9.9/tcp/1&peer=/ip4/10.0.0.1/tcp/1"), &options)
                .expect("a link");
        assert_eq!(link.peers, ["/ip4/10.0.0.1/tcp/1", "/ip4/10.9.9.9/tcp/1"]);
        assert_eq!((link.trackers.len(), link.dht.len()), (LINK_TRACKERS, 1));
        assert_eq!(link.to_string().parse::<Link>(), Ok(link));
        assert_eq!(linked("abcd", &options), None);
        options.dht = false;
        assert!(linked(&id, &options).is_some_and(|link| link.dht.is_empty()));
    }
}
