//! `rnnx doctor`: what was found on this machine, as a table or as JSON.

use std::fs;

use serde_json::{Value, json};

use super::args::DoctorArgs;
use super::process::emit;
use crate::Result;
use crate::data::corpus::embedded_files;
use crate::device::Level;
use crate::device::cuda;
use crate::device::driver::Driver;

/// One line of the table, and one key of the JSON object.
struct Fact {
    label: &'static str,
    text: String,
    key: &'static str,
    value: Value,
}

/// Prints what was found.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if stdout cannot be written.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let facts = facts(&embedded_files()?);
    if args.json {
        let pairs = facts.into_iter().map(|f| (f.key.to_owned(), f.value));
        return emit(&format!("{:#}\n", Value::Object(pairs.collect())));
    }
    let width = facts.iter().map(|f| f.label.len()).max().unwrap_or(0);
    let line = |f: &Fact| format!("{:width$}  {}\n", f.label, f.text);
    emit(&facts.iter().map(line).collect::<String>())
}

fn facts(corpus: &[(String, Vec<u8>)]) -> Vec<Fact> {
    let version = env!("CARGO_PKG_VERSION");
    let mut facts = vec![
        fact("rnnx", version, "version", json!(version)),
        os(),
        cpu(),
        vectors(),
        threads(),
    ];
    facts.extend(memory());
    facts.extend(huge_pages());
    let bytes: usize = corpus.iter().map(|(_, text)| text.len()).sum();
    let files = corpus.len();
    let text = format!("embedded: {files} files, {:.1} MB", bytes as f64 / 1e6);
    let value = json!({"files": files, "bytes": bytes});
    facts.push(fact("corpus", text, "corpus", value));
    facts.extend(gpu());
    facts
}

fn fact(label: &'static str, text: impl Into<String>, key: &'static str, value: Value) -> Fact {
    Fact {
        label,
        text: text.into(),
        key,
        value,
    }
}

/// The driver, the GPUs and the libraries that `--device cuda` needs. What is missing is told with
/// the places tried.
fn gpu() -> Vec<Fact> {
    let cuda::Probe {
        driver,
        gpus,
        nvrtc,
        cublas,
        nccl,
    } = cuda::probe();
    let version = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    let mut facts = vec![found("GPU driver", "driver", driver, |d| {
        let module = d.module.clone().unwrap_or_default();
        let module = module.lines().next().unwrap_or_default().to_owned();
        let text = format!("CUDA {} ({}) {module}", version(d.cuda), d.path.display());
        (
            text,
            json!({"cuda": version(d.cuda), "path": d.path, "module": module}),
        )
    })];
    match gpus {
        Ok(gpus) if gpus.is_empty() => facts.push(fact("GPU", "none", "gpus", json!([]))),
        Ok(gpus) => {
            let lines: Vec<String> = gpus
                .iter()
                .map(|g| format!("cuda:{} {g}", g.number))
                .collect();
            facts.push(fact("GPU", lines.join("; "), "gpus", json!(lines)));
            let details: Vec<String> = gpus.iter().map(|g| g.details()).collect();
            let values: Vec<Value> = gpus.iter().map(attributes).collect();
            facts.push(fact(
                "GPU attributes",
                details.join("; "),
                "gpu_attributes",
                json!(values),
            ));
        }
        Err(_) => facts.push(fact(
            "GPU",
            "none: training runs on the CPU",
            "gpus",
            json!([]),
        )),
    }
    let ready = driver_ready(&facts) && nvrtc.is_ok() && cublas.is_ok();
    let library = |l: &cuda::LibraryFacts| {
        let patch = l.patch.map_or(String::new(), |patch| format!(".{patch}"));
        let version = version(l.version) + &patch;
        let mut text = format!("{version} ({})", l.path.display());
        if !l.passed_over.is_empty() {
            text += &format!("; passed over: {}", l.passed_over.join("; "));
        }
        let value = json!({
            "version": version,
            "path": l.path,
            "passed_over": l.passed_over,
        });
        (text, value)
    };
    facts.push(found("NVRTC", "nvrtc", nvrtc, library));
    facts.push(found("cuBLAS", "cublas", cublas, library));
    facts.push(found("NCCL", "nccl", nccl, library));
    facts.push(match ready.then(captures) {
        None => fact(
            "CUDA graph",
            "not known without a GPU",
            "graph",
            Value::Null,
        ),
        Some(Ok(())) => fact(
            "CUDA graph",
            "used for the training step",
            "graph",
            json!(true),
        ),
        Some(Err(e)) => fact(
            "CUDA graph",
            format!("not used: {e}"),
            "graph",
            json!(false),
        ),
    });
    facts
}

/// What the driver tells of a GPU, in its units.
fn attributes(gpu: &cuda::GpuFacts) -> Value {
    json!({
        "multiprocessors": gpu.multiprocessors,
        "l2_bytes": gpu.l2_bytes,
        "clock_khz": gpu.clock_khz,
        "memory_clock_khz": gpu.memory_clock_khz,
        "pageable_memory_access": gpu.pageable_access,
        "pageable_memory_access_uses_host_page_tables": gpu.host_page_tables,
    })
}

/// Whether the driver showed a GPU.
fn driver_ready(facts: &[Fact]) -> bool {
    let gpus = facts.iter().find(|f| f.key == "gpus");
    gpus.and_then(|f| f.value.as_array())
        .is_some_and(|gpus| !gpus.is_empty())
}

/// Captures a piece of work on the first GPU and runs it.
fn captures() -> Result<()> {
    let driver = cuda::Cuda::open(0)?;
    let memory = driver.alloc(256)?;
    let graph = driver.capture(&mut || driver.fill(memory, 0, 256))?;
    driver.replay(&graph)?;
    driver.synchronize()
}

/// A part that was found, or what is known of its absence.
fn found<T>(
    label: &'static str,
    key: &'static str,
    part: Result<T>,
    show: impl Fn(&T) -> (String, Value),
) -> Fact {
    match part {
        Ok(part) => {
            let (text, value) = show(&part);
            fact(label, text, key, value)
        }
        Err(e) => fact(
            label,
            format!("not found: {e}"),
            key,
            json!({"missing": e.to_string()}),
        ),
    }
}

fn os() -> Fact {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = field(&release, "PRETTY_NAME", '=').map(|s| s.trim_matches('"').to_owned());
    let mut name = pretty.unwrap_or_else(|| std::env::consts::OS.to_owned());
    if let Ok(kernel) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        name += &format!(", Linux {}", kernel.trim());
    }
    let arch = std::env::consts::ARCH;
    let text = format!("{name}, {arch}");
    fact("system", text, "os", json!({"name": name, "arch": arch}))
}

fn cpu() -> Fact {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&info, "model name", ':');
    let text = model.as_deref().unwrap_or("model unknown");
    fact("CPU", text, "cpu", json!(model))
}

/// The vectors that the kernels use here.
fn vectors() -> Fact {
    let level = Level::current();
    let set = match level {
        Level::Avx512 => "AVX-512",
        Level::Avx2 => "AVX2 and FMA",
        Level::Portable => "the compiler's baseline",
    };
    let lanes = level.lanes_f32();
    let generate = level.name();
    let text = format!("{set}: {lanes} f32 a vector; generation: {generate}");
    let value = json!({"set": set, "f32_lanes": lanes, "generation": generate});
    fact("vectors", text, "vectors", value)
}

/// Logical CPUs that this process may use, and the threads of the pool that work is done on
/// (`RAYON_NUM_THREADS` changes it).
fn threads() -> Fact {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let used = rayon::current_num_threads();
    let text = format!("{used} used, {cpus} logical CPUs available (--threads N changes it)");
    let value = json!({"used": used, "logical_cpus": cpus});
    fact("threads", text, "threads", value)
}

fn memory() -> Option<Fact> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name| -> Option<u64> {
        let kib: u64 = field(&info, name, ':')?
            .trim_end_matches(" kB")
            .parse()
            .ok()?;
        Some(kib * 1024)
    };
    let (total, free) = (bytes("MemTotal")?, bytes("MemAvailable")?);
    let gb = |n: u64| n as f64 / 1e9;
    let text = format!("{:.1} GB, {:.1} GB available", gb(total), gb(free));
    let value = json!({"total_bytes": total, "available_bytes": free});
    Some(fact("memory", text, "memory", value))
}

/// Whether large buffers may get large pages without asking; it moves the speed of big products.
fn huge_pages() -> Option<Fact> {
    let modes = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let mode = modes.split(['[', ']']).nth(1)?.to_owned();
    let value = json!(mode);
    Some(fact("huge pages", mode, "transparent_huge_pages", value))
}

/// The value of the first line `name<separator>value`.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    let mut pairs = text.lines().filter_map(|l| l.split_once(separator));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}
