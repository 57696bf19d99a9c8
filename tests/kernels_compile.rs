//! Every kernel compiles for every architecture: NVRTC needs no GPU. Without the library
//! (`pip install nvidia-cuda-nvrtc` brings it) a line says that nothing was compiled.

use rnnx::device::emulated::Emulated;
use rnnx::device::libraries::{Environment, Kind};
use rnnx::device::nvrtc::{Nvrtc, SOURCES};
use std::fs;
use std::path::Path;

/// T4, A100, H100 and H200, B200, RTX 50; the `a` variants allow what later architectures lack.
const ARCHITECTURES: [&str; 5] = ["sm_75", "sm_80", "sm_90a", "sm_100a", "sm_120"];

fn nvrtc() -> Option<Nvrtc> {
    match Nvrtc::load(&Environment::of_process()) {
        Ok(nvrtc) => Some(nvrtc),
        Err(e) => {
            // To the terminal itself: the test harness hides what a passing test prints.
            let line = format!("\nSKIPPED: no kernel was compiled for a GPU: {e}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            None
        }
    }
}

#[test]
fn every_kernel_compiles_for_every_architecture() {
    let Some(nvrtc) = nvrtc() else { return };
    assert!(nvrtc.version().0 >= 12, "{nvrtc:?}");
    let mut sources: Vec<(String, String)> = SOURCES
        .iter()
        .map(|&(name, text)| (name.to_string(), text.to_string()))
        .collect();
    for name in ["faults.cu", "primitives.cu"] {
        let path = Path::new("tests/emulator_faults").join(name);
        sources.push((name.to_string(), fs::read_to_string(path).unwrap()));
    }
    let mut missing = Emulated::kernels();
    missing.retain(|&kernel| kernel != "fault_too_much_shared"); // the assembler refuses it
    for (name, text) in &sources {
        for architecture in ARCHITECTURES {
            let cubin = nvrtc.compile(name, text, architecture).unwrap();
            assert_eq!(&cubin[..4], b"\x7fELF", "{name} for {architecture}");
            if architecture == "sm_90a" {
                let symbols = String::from_utf8_lossy(&cubin);
                missing.retain(|kernel| !symbols.contains(&format!(".text.{kernel}")));
            }
        }
    }
    assert!(missing.is_empty(), "emulated but not compiled: {missing:?}");
}

#[test]
fn a_compile_error_names_file_and_line() {
    let Some(nvrtc) = nvrtc() else { return };
    let source = "#include \"device.cuh\"\nKERNEL(broken, ptr<float> x) { y[0] = 1.0f; }\n";
    let error = nvrtc.compile("broken.cu", source, "sm_90a").unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let message = error.to_string();
    assert!(
        message.contains("broken.cu(2)") && message.contains("sm_90a"),
        "{message}"
    );
    let error = nvrtc.compile("ok.cu", "", "sm_1").unwrap_err();
    assert!(error.to_string().contains("sm_1"), "{error}");
}

#[test]
fn every_source_is_embedded() {
    let mut files: Vec<String> = fs::read_dir("kernels")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".cu"))
        .collect();
    files.sort();
    let mut embedded: Vec<&str> = SOURCES.iter().map(|&(name, _)| name).collect();
    embedded.sort_unstable();
    assert_eq!(files, embedded);
}

#[test]
fn a_missing_library_lists_the_places_tried() {
    let dir = tempfile::tempdir().unwrap();
    let packages = dir
        .path()
        .join("lib/python3.12/site-packages/nvidia/cu13/lib");
    let cuda = dir.path().join("cuda");
    fs::create_dir_all(&packages).unwrap();
    fs::create_dir_all(cuda.join("lib64")).unwrap();
    let environment = Environment {
        cuda: vec![cuda.clone()],
        prefixes: vec![
            dir.path().into(),
            dir.path().into(),
            "/no/such/place".into(),
        ],
        system: false,
    };
    assert_eq!(
        environment.folders(),
        [cuda.join("lib64"), cuda.join("lib"), packages.clone()]
    );
    for kind in [Kind::Driver, Kind::Nvrtc, Kind::Cublas] {
        let error = environment.load(kind).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let message = error.to_string();
        for part in [
            kind.names()[0],
            &packages.display().to_string(),
            &format!("{} (no such folder)", cuda.join("lib").display()),
            "/no/such/place",
            "CUDA_PATH",
        ] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }
    // A file that is no library is named with the loader's reason.
    let broken = packages.join("libnvrtc.so.13");
    fs::write(&broken, "no library").unwrap();
    let message = Nvrtc::load(&environment).unwrap_err().to_string();
    assert!(
        message.contains(&format!("{} (", broken.display())),
        "{message}"
    );
}
