//! Exchanges over a fake NCCL: calls that are slow, that fail, and that never end.

use super::*;
use crate::device::collectives::Group;
use crate::device::cuda::nccl::{Functions, Nccl};

const SLOW: u32 = 7;

/// A device of a group of three, and the group.
fn joined() -> Result<(Cuda, Group)> {
    let cuda = open()?;
    cuda.nccl.set(Nccl::new(Functions::fake())?).unwrap();
    let id = cuda.new_id()?;
    let group = cuda.join(&id, 1, 3, &mut || Ok(()))?;
    Ok((cuda, group))
}

/// Waits as long as the first so many looks; then rank 2 is gone.
fn until(looks: usize) -> impl FnMut() -> Result<()> {
    let mut left = looks;
    move || match left.checked_sub(1) {
        Some(fewer) => {
            left = fewer;
            Ok(())
        }
        None => Err(Error::Ranks("rank 2 is gone".into())),
    }
}

fn floats(cuda: &Cuda, at: DevicePtr, count: usize) -> Vec<f32> {
    let mut floats = vec![0.0; count];
    cuda.download(bytemuck::cast_slice_mut(&mut floats), at)
        .unwrap();
    floats
}

#[test]
fn a_group_gathers_and_sums() {
    world(|w| w.states = vec![SLOW, SLOW, 0, SLOW, 0]);
    let (cuda, group) = joined().unwrap();
    assert_eq!(cuda.library().unwrap(), "NCCL 2.27.5");
    let (from, to) = (cuda.alloc(8).unwrap(), cuda.alloc(24).unwrap());
    cuda.upload(from, bytemuck::cast_slice(&[1.5f32, -2.0]))
        .unwrap();
    let all = cuda.all_gather(&group, from, to, 2, &mut || Ok(()));
    all.unwrap();
    assert_eq!(floats(&cuda, to, 6), [1.5, -2.0, 1.5, -2.0, 1.5, -2.0]);
    cuda.all_reduce(&group, from, 2, &mut || Ok(())).unwrap();
    assert_eq!(floats(&cuda, from, 2), [4.5, -6.0]);
    let wrong = [
        cuda.all_gather(&group, from, to, 3, &mut || Ok(())),
        cuda.all_gather(&group, from, to.offset(4), 2, &mut || Ok(())),
        cuda.all_reduce(&group, from, 3, &mut || Ok(())),
        cuda.all_reduce(&Group(Box::new(())), from, 2, &mut || Ok(())),
    ];
    for wrong in wrong {
        assert!(matches!(wrong, Err(Error::Op { .. })), "{wrong:?}");
    }
    world(|w| assert_eq!(w.live["communicator"], 1));
    drop(group);
    drop(cuda);
    assert_clean();
}

#[test]
fn a_wait_ends_with_the_patience_and_the_group_with_it() {
    let (cuda, group) = joined().unwrap();
    let at = cuda.alloc(8).unwrap();
    world(|w| w.states = vec![SLOW]);
    let waited = cuda.all_reduce(&group, at, 2, &mut until(3));
    assert_eq!(waited.unwrap_err().to_string(), "rank 2 is gone");
    world(|w| assert_eq!(w.live["communicator"], 0));
    let again = cuda.all_reduce(&group, at, 2, &mut || Ok(()));
    assert!(again.unwrap_err().to_string().contains("no more use"));
    drop(group);
    drop(cuda);
    assert_clean();
}

#[test]
fn what_nccl_says_is_an_error_unless_a_rank_is_known_to_be_lost() {
    let (cuda, group) = joined().unwrap();
    let at = cuda.alloc(8).unwrap();
    world(|w| w.states = vec![SLOW, 6]);
    let waited = cuda.all_reduce(&group, at, 2, &mut until(5));
    assert_eq!(waited.unwrap_err().to_string(), "rank 2 is gone");
    drop(group);

    world(|w| w.states.clear());
    let id = cuda.new_id().unwrap();
    let group = cuda.join(&id, 1, 3, &mut || Ok(())).unwrap();
    world(|w| w.states = vec![SLOW, 3]);
    let waited = cuda.all_gather(&group, at, at, 0, &mut || Ok(()));
    let message = waited.unwrap_err().to_string();
    for part in ["ncclAllGather", "(3)", "socket closed", "--exchange host"] {
        assert!(message.contains(part), "{message} lacks {part}");
    }
    drop((group, cuda));
    assert_clean();
}

#[test]
fn a_group_that_cannot_be_joined_leaves_nothing() {
    world(|w| w.fail.insert("ncclCommInitRankConfig", 5));
    let message = joined().unwrap_err().to_string();
    assert!(message.contains("unknown error (5)"), "{message}");
    world(|w| {
        w.fail.clear();
        w.states = vec![SLOW];
    });
    let cuda = open().unwrap();
    cuda.nccl
        .set(Nccl::new(Functions::fake()).unwrap())
        .unwrap();
    let id = cuda.new_id().unwrap();
    let waited = cuda.join(&id, 1, 3, &mut until(2));
    assert_eq!(waited.unwrap_err().to_string(), "rank 2 is gone");
    assert!(cuda.join(&id[1..], 1, 3, &mut || Ok(())).is_err());
    drop(cuda);
    assert_clean();
}
