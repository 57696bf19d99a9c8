//! kernels/measure.cu: the micro-benchmarks of `rnnx bench hardware` give what they have to.

use crate::support::*;
use rnnx::device::driver::Launch;
use rnnx::device::emulated::Emulated;

fn ping_pong() -> Launch<'static> {
    Launch {
        cluster: 2,
        ..Launch::new("measure_ping_pong", 2, 32)
    }
}

#[test]
fn a_number_goes_to_and_fro() {
    for rounds in [1, 2, 3, 20] {
        let out = run(ping_pong(), &[fresh::<u32>(2), number(rounds)]);
        assert_eq!(get::<u32>(&out[0]), [2 * rounds, 2 * rounds - 1]);
    }
    // Where one is lost, both sides give up.
    let device = Emulated::new(0).losing(5);
    let bufs = [fresh::<u32>(2), number(8u32)];
    let out = run_on(&device, &[(ping_pong(), &[0, 1])], &bufs).unwrap();
    assert_eq!(get::<u32>(&out[0]), [u32::MAX; 2]);
}

#[test]
fn products_of_ones_count_their_rounds() {
    let launch = Launch::new("measure_mma", 2, 256);
    let out = run(launch, &[fresh::<f32>(512), number(5u32)]);
    assert!(get::<f32>(&out[0]).iter().all(|&y| y == 320.0));
}
