//! The main job: what is published is fetched, whole and right, by whoever has its id.

use swarm_tests::fixture::{Home, MIB, b3};

#[test]
fn publish_prints_what_b3sum_prints() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.file("update.bin", 3 * MIB + 1, 1);
    let seeder = alice.publish(&file);
    assert_eq!(seeder.id(), b3(&file));
    let got = bob.get(seeder.link(), &[]);
    got.success();
    assert_eq!(b3(&bob.path("update.bin")), seeder.id());
    assert_eq!(seeder.stop().code, Some(0));
}
