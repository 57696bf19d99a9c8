//! The whole driver over a fake CUDA: what a machine without a GPU can prove.

mod gemm;
mod nccl;

use super::cubin::Cubin;
use super::cubin::tests::elf;
use super::fake::{api, world};
use super::*;
use crate::device::gpu::{Gpu, Pool};

const KERNEL: &str = "scale_f32";

fn facts() -> DriverFacts {
    DriverFacts {
        path: "libcuda.so.1".into(),
        cuda: (12, 4),
        module: Some("550.54.14".into()),
    }
}

fn open() -> Result<Cuda> {
    let gpu = select(&api().gpus()?, 0)?.clone();
    let cubin = Cubin {
        file: "a.cu".into(),
        image: elf(&[".text.scale_f32", ".nv.constant0.scale_f32"]),
    };
    Cuda::start(api(), api::Blas::fake(), gpu, &facts(), &[cubin])
}

fn args(ptr: DevicePtr) -> [Arg; 5] {
    let (a, b, c, d) = (7u32, -3i32, 1u64 << 40, 0.5f32);
    [ptr.into(), a.into(), b.into(), c.into(), d.into()]
}

/// Nothing of any kind is left, and what lived in the context went before it.
fn assert_clean() {
    world(|w| {
        assert!(w.live.values().all(|&n| n == 0), "{:?}", w.live);
        assert!(w.outlived.is_empty(), "{:?}", w.outlived);
    });
}

#[test]
fn memory_moves_and_all_of_it_is_freed() {
    let cuda = open().unwrap();
    let text = cuda.description();
    for part in ["Fake H200", "9.0", "1.0 GiB", "550.54.14", "12.4"] {
        assert!(text.contains(part), "{text}");
    }
    let (a, b) = (cuda.alloc(8).unwrap(), cuda.alloc(8).unwrap());
    cuda.upload(a, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    cuda.fill(b, 9, 8).unwrap();
    cuda.copy(b.offset(1), a.offset(2), 4).unwrap();
    let mut out = [0; 8];
    cuda.download(&mut out, b).unwrap();
    assert_eq!(out, [9, 3, 4, 5, 6, 9, 9, 9]);
    cuda.alloc(0).unwrap();
    cuda.free(a).unwrap();
    world(|w| assert_eq!(w.live["memory"], 3)); // b, the empty one, the workspace
    let messages = [
        cuda.free(a).unwrap_err(),
        cuda.upload(a, &[0]).unwrap_err(),
        cuda.upload(b, &[0; 9]).unwrap_err(),
        cuda.download(&mut out, b.offset(1)).unwrap_err(),
        cuda.fill(b.offset(4), 0, 5).unwrap_err(),
        cuda.copy(b, b.offset(3), 4).unwrap_err(),
        cuda.copy(b, DevicePtr::NULL, 1).unwrap_err(),
    ];
    for error in messages {
        assert!(matches!(error, Error::Op { .. }), "{error}");
    }
    let (from, to) = (cuda.record().unwrap(), cuda.record().unwrap());
    assert_eq!(cuda.elapsed_ms(&from, &to).unwrap(), 1.25);
    drop(cuda);
    drop((from, to)); // they outlive the driver
    assert_clean();
}

/// The fake reads the host's bytes as late as a driver may: when somebody waits.
#[test]
fn an_upload_has_copied_its_bytes_aside_when_it_returns() {
    let cuda = open().unwrap();
    let ptr = cuda.alloc(8).unwrap();
    let mut bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    cuda.upload(ptr, &bytes).unwrap();
    bytes.fill(9);
    let mut out = [0; 8];
    cuda.download(&mut out, ptr).unwrap();
    assert_eq!(out, [1, 2, 3, 4, 5, 6, 7, 8]);

    // Together more than is set aside, and one that alone is more.
    let sizes = [5 << 20, 5 << 20, 20 << 20, 1000];
    let content = |n: usize| (0..sizes[n]).map(move |i| (i * 7 + n) as u8);
    let buffers = sizes.map(|bytes| cuda.alloc(bytes).unwrap());
    for (n, &ptr) in buffers.iter().enumerate() {
        let bytes: Vec<u8> = content(n).collect();
        cuda.upload(ptr, &bytes).unwrap();
    }
    for (n, &ptr) in buffers.iter().enumerate() {
        let mut out = vec![0; sizes[n]];
        cuda.download(&mut out, ptr).unwrap();
        assert!(out.into_iter().eq(content(n)), "buffer {n}");
    }
    drop(cuda);
    assert_clean();
}

#[test]
fn blocks_that_wait_in_the_pools_are_given_back_before_memory_runs_out() {
    let gpu = Gpu::new(open().unwrap());
    let mib = |n: usize| n << 20;
    let room = |n: usize| world(|w| w.room = mib(n));
    room(10);
    drop(gpu.alloc(mib(4)).unwrap()); // waits
    let mut pool = Pool::default();
    let block = gpu.with_pool(&mut pool, || {
        drop(gpu.alloc(mib(2))?); // waits in another pool
        gpu.alloc(mib(8))
    });
    let block = block.unwrap();
    world(|w| assert!(w.room < mib(3), "{}", w.room));
    drop(block);
    let block = gpu.alloc(mib(8)).unwrap();
    let error = gpu.alloc(mib(9)).unwrap_err();
    assert!(error.to_string().contains("is out of memory"), "{error}");
    drop((block, gpu));
    assert_clean();
}

#[test]
fn out_of_memory_says_how_much_and_what_to_do() {
    let cuda = open().unwrap();
    cuda.alloc(3 << 20).unwrap();
    world(|w| w.room = 5 << 20);
    let error = cuda.alloc(6 << 20).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let message = error.to_string();
    for part in [
        "cuda:0",
        "6.0 MiB",
        "5.0 MiB",
        "3.0 MiB",
        "batch-size",
        "seq-length",
    ] {
        assert!(message.contains(part), "{message} lacks {part}");
    }
    drop(cuda);
    assert_clean();
}

#[test]
fn a_launch_passes_everything_on() {
    let cuda = open().unwrap();
    world(|w| {
        // 227 KiB less the kernel's own, then clusters of more than 8
        assert!(w.log.contains(&format!("set 8 to {}", (227 << 10) - 1024)));
        assert!(w.log.contains(&"set 14 to 1".to_string()));
        let at = |s: &str| w.log.iter().position(|line| line.starts_with(s)).unwrap();
        assert!(at("set stream") < at("set workspace of 33554432"));
        w.log.clear();
    });
    let ptr = cuda.alloc(4).unwrap();
    let mut launch = Launch::new(KERNEL, 6, 64);
    cuda.launch(&launch, &args(ptr)).unwrap();
    launch.grid = [8, 2, 3];
    launch.cluster = 4;
    launch.shared_bytes = 100_000;
    cuda.launch(&launch, &args(ptr)).unwrap();
    cuda.synchronize().unwrap();
    let tail = format!("args {:x} 7 -3 {} 0.5", ptr.address(), 1u64 << 40);
    let lines = world(|w| w.log.clone());
    assert_eq!(
        lines,
        [
            format!("{KERNEL} grid [6, 1, 1] block [64, 1, 1] shared 0 cluster [] {tail}"),
            format!(
                "{KERNEL} grid [8, 2, 3] block [64, 1, 1] shared 100000 cluster [[4, 1, 1]] {tail}"
            ),
        ]
    );
    let refused = |change: &dyn Fn(&mut Launch), part: &str| {
        let mut launch = Launch::new(KERNEL, 8, 64);
        change(&mut launch);
        let error = cuda.launch(&launch, &args(ptr)).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Op { .. }), "{message}");
        assert!(message.contains(part), "{message} lacks {part}");
    };
    refused(&|l| l.kernel = "none", "no such kernel");
    refused(&|l| l.block = 513, "1 to 512");
    refused(&|l| l.grid[1] = 0, "without blocks");
    refused(&|l| l.cluster = 3, "clusters of 3");
    refused(&|l| l.shared_bytes = 227 << 10, "231424");
    let error = cuda.launch(&launch, &args(ptr)[..4]).unwrap_err();
    assert!(error.to_string().contains("[8, 4, 4, 8, 4]"), "{error}");
}

#[test]
fn a_graph_runs_when_it_is_replayed() {
    let cuda = open().unwrap();
    let (a, b) = (cuda.alloc(4).unwrap(), cuda.alloc(4).unwrap());
    cuda.fill(a, 1, 4).unwrap();
    cuda.fill(b, 0, 4).unwrap();
    let mut refused = Vec::new();
    let graph = cuda
        .capture(&mut || {
            refused.extend([
                cuda.alloc(1).err(),
                cuda.free(a).err(),
                cuda.upload(a, &[1]).err(),
                cuda.download(&mut [0], a).err(),
                cuda.synchronize().err(),
                cuda.record().err(),
                cuda.capture(&mut || Ok(())).err(),
            ]);
            cuda.copy(b, a, 4)?;
            cuda.launch(&Launch::new(KERNEL, 1, 1), &args(a))?;
            cuda.fill(a, 5, 4)
        })
        .unwrap();
    for error in refused {
        let message = error.unwrap().to_string();
        assert!(message.contains("captured"), "{message}");
    }
    let read = |ptr| {
        let mut out = [0; 4];
        cuda.download(&mut out, ptr).unwrap();
        out[0]
    };
    assert_eq!((read(a), read(b)), (1, 0));
    cuda.replay(&graph).unwrap();
    assert_eq!((read(a), read(b)), (5, 1));
    cuda.replay(&graph).unwrap();
    assert_eq!((read(a), read(b)), (5, 5));
    world(|w| assert_eq!(w.live["graph"], 0));

    let failed = cuda.capture(&mut || Err(Error::op("work", "went wrong")));
    assert!(failed.unwrap_err().to_string().contains("went wrong"));
    cuda.synchronize().unwrap(); // the recording has ended
    let foreign = Graph(Box::new(0));
    assert!(cuda.replay(&foreign).is_err());
    assert!(
        cuda.elapsed_ms(&Event(Box::new(0)), &Event(Box::new(0)))
            .is_err()
    );
    drop(cuda);
    drop(graph);
    assert_clean();
}

#[test]
fn faults_and_refusals_are_explained() {
    let cuda = open().unwrap();
    // What no later call of the process survives: ECC, illegal address, launch failure.
    for status in [214, 700, 719] {
        world(|w| w.fail.insert("cuStreamSynchronize", status));
        let error = cuda.synchronize().unwrap_err();
        assert_eq!(error.exit_code(), 4, "{status}");
        let message = error.to_string();
        for part in ["cuStreamSynchronize: ", "the context is gone", "--resume"] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }
    world(|w| w.fail.insert("cuStreamSynchronize", 700));
    let message = cuda.synchronize().unwrap_err().to_string();
    let illegal = "an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS, 700)";
    assert!(message.contains(illegal), "{message}");
    world(|w| w.fail.insert("cuLaunchKernelEx", 701));
    let ptr = cuda.alloc(4).unwrap();
    let error = cuda.launch(&Launch::new(KERNEL, 1, 1), &args(ptr));
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("scale_f32 (grid [1, 1, 1], block 1): cuLaunchKernelEx: "),
        "{message}"
    );
    drop(cuda); // with the fault still there
    assert_clean();

    world(|w| w.fail = [("cuInit", 100)].into());
    let error = open().unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let message = error.to_string();
    for part in ["cuInit", "NO_DEVICE", "CUDA_VISIBLE_DEVICES", "device cpu"] {
        assert!(message.contains(part), "{message} lacks {part}");
    }

    // Whatever fails on the way in, what was opened goes again; unknown codes are only numbers.
    for call in [
        "cuDevicePrimaryCtxRetain",
        "cuStreamCreate",
        "cuMemAlloc",
        "cuMemAllocHost",
        "cuModuleLoadData",
        "cuFuncSetAttribute",
    ] {
        world(|w| w.fail = [(call, 12345)].into());
        let error = open().unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let message = error.to_string();
        assert!(
            message.contains(call) && message.contains("12345"),
            "{message}"
        );
        assert_clean();
    }
    world(|w| w.fail = [("cublasCreate", 1)].into());
    let message = open().unwrap_err().to_string();
    assert!(
        message.contains("CUBLAS_STATUS_NOT_INITIALIZED"),
        "{message}"
    );
    assert_clean();
}

#[test]
fn a_rank_that_is_shown_one_gpu_has_that() {
    let gpus = api().gpus().unwrap();
    assert_eq!(of_rank(&gpus, 0, 1), 1);
    assert_eq!(of_rank(&gpus, 3, 2), 5);
    assert_eq!(of_rank(&gpus, u32::MAX, 2), u32::MAX);
    assert_eq!(of_rank(&gpus[..1], 0, 7), 0);
    assert_eq!(of_rank(&gpus[..1], 1, 7), 1);
}

#[test]
fn a_gpu_that_cannot_be_used_is_named() {
    let gpus = api().gpus().unwrap();
    assert_eq!(gpus[1].capability, (7, 0));
    assert_eq!(
        gpus[0].details(),
        "132 multiprocessors, L2 50.0 MiB, clock 1980 MHz, memory clock 3201 MHz, reads pageable \
         host memory: yes, through the host's page tables: no"
    );
    let old = select(&gpus, 1).unwrap_err();
    assert!(old.to_string().contains("Fake V100"), "{old}");
    assert!(old.to_string().contains("7.5"), "{old}");
    let absent = select(&gpus, 2).unwrap_err();
    for part in ["cuda:2", "cuda:0 (Fake H200", "cuda:1 (Fake V100"] {
        assert!(absent.to_string().contains(part), "{absent}");
    }
    world(|w| w.version = 11040);
    let driver = open().unwrap_err();
    assert_eq!([old, absent].map(|e| e.exit_code()), [4, 4]);
    assert_eq!(driver.exit_code(), 4);
    for part in ["11.4", "12.0", "525"] {
        assert!(driver.to_string().contains(part), "{driver}");
    }
}

#[test]
fn the_driver_says_how_many_clusters_run_at_once() {
    let cuda = open().unwrap();
    let launch = Launch {
        cluster: 4,
        shared_bytes: 100_000,
        ..Launch::new(KERNEL, 4, 64)
    };
    assert_eq!(cuda.clusters(&launch).unwrap(), 31);
    world(|w| assert_eq!(w.log.last().unwrap(), "clusters of 100000 bytes"));
    let alone = Launch {
        cluster: 1,
        ..launch
    };
    assert_eq!(cuda.clusters(&alone).unwrap(), 2 * 132);
    let asked = "blocks of 64 threads and 100000 bytes";
    world(|w| assert_eq!(w.log.last().unwrap(), asked));
    let changes: [fn(&mut Launch); 3] = [
        |l| l.shared_bytes = 300_000,
        |l| l.block = 513,
        |l| l.kernel = "no_such_kernel",
    ];
    for change in changes {
        let mut launch = launch;
        change(&mut launch);
        assert_eq!(cuda.clusters(&launch).unwrap(), 0);
    }
    // A size that it does not have is none; a lost context is no answer.
    for (status, answer) in [(912, Some(0)), (1, Some(0)), (700, None)] {
        world(|w| w.fail.insert("cuOccupancyMaxActiveClusters", status));
        assert_eq!(cuda.clusters(&launch).ok(), answer, "{status}");
    }
}

#[test]
fn a_file_without_a_kernel_is_not_loaded() {
    let cubin = |image| Cubin {
        file: "a.cu".into(),
        image,
    };
    let gpu = select(&api().gpus().unwrap(), 0).unwrap().clone();
    let cubins = [
        cubin(elf(&[".text.scale_f32", ".nv.constant0.scale_f32"])),
        cubin(elf(&[".strtab"])),
    ];
    let cuda = Cuda::start(api(), api::Blas::fake(), gpu, &facts(), &cubins).unwrap();
    world(|w| assert_eq!(w.live["module"], 1));
    drop(cuda);
    assert_clean();
}
