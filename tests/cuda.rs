//! Opening a GPU, on a machine with one or without.

use rnnx::device::cuda::{Cuda, probe};
use rnnx::device::driver::Driver;

/// Whether this machine has a driver and a GPU.
fn has_gpu() -> bool {
    probe().gpus.is_ok_and(|gpus| !gpus.is_empty())
}

#[test]
fn opening_gives_a_gpu_or_says_what_to_do() {
    let error = match Cuda::open(0) {
        Ok(cuda) => {
            assert!(has_gpu());
            let ptr = cuda.alloc(4).unwrap();
            cuda.fill(ptr, 7, 4).unwrap();
            let mut out = [0; 4];
            cuda.download(&mut out, ptr).unwrap();
            assert_eq!(out, [7; 4]);
            return;
        }
        Err(error) => error,
    };
    assert_eq!(error.exit_code(), 4);
    let message = error.to_string();
    if probe().driver.is_err() {
        for part in [
            "no NVIDIA GPU can be used here",
            "libcuda.so.1 (system loader)",
            "NVIDIA driver",
            "CUDA_PATH",
            "device cpu",
        ] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }
}

#[test]
fn a_gpu_that_does_not_exist_is_an_error() {
    let error = Cuda::open(1000).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    if has_gpu() {
        let message = error.to_string();
        assert!(message.contains("cuda:1000") && message.contains("cuda:0"));
    }
}

#[test]
fn probing_finds_or_explains_everything() {
    let probe = probe();
    let found = [
        probe.driver.as_ref().map(|d| d.path.clone()),
        probe.nvrtc.as_ref().map(|l| l.path.clone()),
        probe.cublas.as_ref().map(|l| l.path.clone()),
    ];
    for (result, name) in found.into_iter().zip(["libcuda", "libnvrtc", "libcublas"]) {
        match result {
            Ok(path) => assert!(path.to_string_lossy().contains(name), "{path:?}"),
            Err(error) => {
                assert_eq!(error.exit_code(), 4);
                let message = error.to_string();
                assert!(message.contains(name), "{message}");
                assert!(message.contains("Tried: "), "{message}");
            }
        }
    }
    for library in [probe.nvrtc, probe.cublas].into_iter().flatten() {
        assert!(library.version.0 >= 12, "{library:?}");
    }
    if probe.driver.is_err() {
        assert!(probe.gpus.is_err());
    }
}
