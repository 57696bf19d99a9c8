//! Exchanges between emulated devices, each in a thread.

use rnnx::Error;
use rnnx::device::collectives::Collectives;
use rnnx::device::driver::{DevicePtr, Driver};
use rnnx::device::emulated::Emulated;
use std::thread;
use std::time::{Duration, Instant};

const SIZE: usize = 3;

/// Runs `work` on so many devices, with the id of a group that the first has made.
fn together<T: Send>(work: impl Fn(&Emulated, usize, &[u8]) -> T + Sync) -> Vec<T> {
    let devices: Vec<Emulated> = (0..SIZE).map(|_| Emulated::new(0)).collect();
    let id = devices[0].new_id().unwrap();
    let (work, id) = (&work, &id[..]);
    thread::scope(|scope| {
        let devices = devices.iter().enumerate();
        let threads = devices.map(|(rank, device)| scope.spawn(move || work(device, rank, id)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

fn give(device: &Emulated, values: &[f32]) -> DevicePtr {
    let at = device.alloc(4 * values.len()).unwrap();
    device.upload(at, bytemuck::cast_slice(values)).unwrap();
    at
}

fn take(device: &Emulated, at: DevicePtr, n: usize) -> Vec<f32> {
    let mut floats = vec![0.0; n];
    let bytes = bytemuck::cast_slice_mut(&mut floats);
    device.download(bytes, at).unwrap();
    floats
}

fn for_ever() -> Result<(), Error> {
    Ok(())
}

/// More than a socket takes at once.
const LONG: usize = 1_000_000;

#[test]
fn all_have_what_each_has_and_the_sum() {
    let ended = together(|device, rank, id| {
        let group = device.join(id, rank, SIZE, &mut for_ever).unwrap();
        let own = give(device, &vec![rank as f32 + 1.0; LONG]);
        let all = device.alloc(4 * SIZE * LONG).unwrap();
        let gathered = device.all_gather(&group, own, all, LONG, &mut for_ever);
        gathered.unwrap();
        device.all_reduce(&group, own, 2, &mut for_ever).unwrap();
        (take(device, all, SIZE * LONG), take(device, own, 3))
    });
    for (rank, (all, sum)) in ended.into_iter().enumerate() {
        for (of, part) in all.chunks(LONG).enumerate() {
            assert!(part.iter().all(|x| *x == of as f32 + 1.0), "rank {rank}");
        }
        assert_eq!(sum, [6.0, 6.0, rank as f32 + 1.0]);
    }
}

#[test]
fn one_that_never_comes_leaves_the_others_to_their_patience() {
    let ended = together(|device, rank, id| {
        let group = device.join(id, rank, SIZE, &mut for_ever).unwrap();
        if rank == 1 {
            return None;
        }
        let own = give(device, &[1.0]);
        let deadline = Instant::now() + Duration::from_millis(200);
        let waited = device.all_reduce(&group, own, 1, &mut || match Instant::now() < deadline {
            true => Ok(()),
            false => Err(Error::Ranks("rank 1 is gone".into())),
        });
        Some((waited.unwrap_err().to_string(), take(device, own, 1)))
    });
    for (said, own) in ended.into_iter().flatten() {
        assert_eq!(said, "rank 1 is gone");
        assert_eq!(own, [1.0]);
    }
}

#[test]
fn what_does_not_fit_is_said_before_anything_goes() {
    let device = Emulated::new(0);
    let id = device.new_id().unwrap();
    let group = device.join(&id, 0, 1, &mut for_ever).unwrap();
    let at = give(&device, &[1.0, 2.0]);
    let wrong = [
        device.all_gather(&group, at, at.offset(4), 2, &mut for_ever),
        device.all_reduce(&group, at, 3, &mut for_ever),
    ];
    for wrong in wrong {
        assert!(matches!(wrong, Err(Error::Op { .. })), "{wrong:?}");
    }
    assert!(device.join(&id[1..], 0, 1, &mut for_ever).is_err());
    assert_eq!(device.library().unwrap(), "emulated NCCL 2.27.5");
}
