//! Opening a GPU, on a machine with one or without.

use rnnx::device::cuda::{Cuda, probe};
use rnnx::device::driver::Driver;
use rnnx::device::libraries::Environment;
use rnnx::device::nvrtc::Nvrtc;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
        probe.nccl.as_ref().map(|l| l.path.clone()),
    ];
    let names = ["libcuda", "libnvrtc", "libcublas", "libnccl"];
    for (result, name) in found.into_iter().zip(names) {
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

/// NCCL needs no GPU to tell its version (`pip install nvidia-nccl-cu13` brings it).
#[test]
fn nccl_has_its_functions_and_a_version() {
    match probe().nccl {
        Ok(nccl) => assert!(
            nccl.version.0 == 2 && nccl.version >= (2, 14) && nccl.patch.is_some(),
            "{nccl:?}"
        ),
        Err(e) => {
            assert!(e.to_string().contains("nvidia-nccl-cu"), "{e}");
            // To the terminal itself: the test harness hides what a passing test prints.
            let line = format!("\nSKIPPED: no NCCL was loaded: {e}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        }
    }
}

/// A CUDA installation whose NVRTC has nothing but a version.
fn installation(root: &Path, name: &str, (major, minor): (i32, i32)) -> PathBuf {
    let folder = root.join(name);
    fs::create_dir_all(folder.join("lib64")).unwrap();
    let stubs: String = [
        "CreateProgram",
        "CompileProgram",
        "GetProgramLogSize",
        "GetProgramLog",
        "GetCUBINSize",
        "GetCUBIN",
        "GetErrorString",
        "DestroyProgram",
    ]
    .map(|f| format!("int nvrtc{f}() {{ return 1; }}\n"))
    .concat();
    let version = "int nvrtcVersion(int* major, int* minor)";
    let source = root.join(format!("{name}.cpp"));
    let body = format!("{version} {{ *major = {major}; *minor = {minor}; return 0; }}\n{stubs}");
    fs::write(&source, format!("extern \"C\" {{\n{body}}}\n")).unwrap();
    let built = Command::new(std::env::var("CXX").unwrap_or("c++".into()))
        .args(["-shared", "-fPIC", "-o"])
        .args([&folder.join("lib64/libnvrtc.so"), &source])
        .status();
    assert!(built.unwrap().success());
    folder
}

#[test]
fn the_search_goes_past_a_compiler_that_is_too_old_or_too_new() {
    let root = tempfile::tempdir().unwrap();
    let versions = [
        ("a", (11, 8)),
        ("b", (12, 0)),
        ("c", (14, 2)),
        ("d", (12, 1)),
    ];
    let folders = versions.map(|(name, version)| installation(root.path(), name, version));
    let environment = |folders: &[PathBuf]| Environment {
        cuda: folders.to_vec(),
        ..Environment::default()
    };
    let (nvrtc, passed_over) = Nvrtc::load_up_to(&environment(&folders), 13).unwrap();
    assert_eq!(nvrtc.version(), (12, 1));
    assert_eq!(nvrtc.path(), folders[3].join("lib64/libnvrtc.so"));
    let reasons = [
        ("NVRTC 11.8", &folders[0], "12.1 or newer is needed"),
        ("NVRTC 12.0", &folders[1], "12.1 or newer is needed"),
        ("NVRTC 14.2", &folders[2], "nvidia-cuda-nvrtc-cu13"),
    ];
    assert_eq!(passed_over.len(), reasons.len());
    for (text, (version, folder, why)) in passed_over.iter().zip(reasons) {
        let folder = folder.to_str().unwrap();
        assert!(
            [version, folder, why]
                .iter()
                .all(|part| text.contains(part)),
            "{text}"
        );
    }

    let error = Nvrtc::load_up_to(&environment(&folders[..3]), 13).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let message = error.to_string();
    for part in ["NVRTC 11.8", "NVRTC 14.2", "pip install", "Tried: "] {
        assert!(message.contains(part), "{message} lacks {part}");
    }
}
