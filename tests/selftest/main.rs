//! The table of `rnnx selftest` on the CPU and on the emulated device, and that it can fail; its grid of recurrences
//! likewise.

mod recurrence;

use rnnx::Result;
use rnnx::device::driver::{Arg, DevicePtr, Driver, Event, Gemm, Graph, Launch};
use rnnx::device::emulated::Emulated;
use rnnx::device::{Gpu, Recurrence};
use rnnx::dtype::DType;
use rnnx::selftest::startup::{check_once, spot_check};
use rnnx::selftest::{self, CaseResult};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Kernels that no op launches: the training loop's, which tests/gpu_loop.rs and benches/gpu-check run, and
/// the micro-benchmarks of tests/emulator/measure.rs and `rnnx bench hardware`.
const WITHOUT_AN_OP: [&str; 4] = [
    "batch_char",
    "batch_record",
    "measure_mma",
    "measure_ping_pong",
];

fn assert_passed(results: &[CaseResult]) {
    let failed: Vec<_> = results.iter().filter(|r| !r.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_cpu_in_f32_agrees_with_f64() {
    let results = selftest::run(None, None);
    assert_passed(&results);
    assert!(results.iter().all(|r| r.dtype == DType::F32));
    let mut ops: Vec<_> = Vec::new();
    for result in &results {
        if !ops.contains(&result.op) {
            ops.push(result.op);
        }
    }
    // Whole sequences in one kernel are a GPU's, in f16.
    let mut all = selftest::ops();
    all.retain(|op| !op.ends_with("_whole"));
    assert_eq!(ops, all);
}

#[test]
fn the_emulated_device_agrees_under_every_schedule_with_the_same_bits() {
    let run = |schedule| selftest::run(Some(&Gpu::new(Emulated::new(schedule))), None);
    let first = run(0);
    assert_passed(&first);
    assert!(first.iter().any(|r| r.dtype == DType::F16));
    for schedule in [1, 77] {
        for (a, b) in first.iter().zip(run(schedule)) {
            assert_eq!(*a, b, "schedule {schedule}");
        }
    }
}

/// Kernels that take whole sequences forward, and which of their arguments is y.
const WHOLE: [(&str, usize); 3] = [
    ("lstm_whole_fwd_", 7),
    ("rnn_whole_fwd_", 6),
    ("attention_whole_fwd_", 12),
];

/// The emulated device with a fault that a test plants.
#[derive(Debug)]
struct Faulty {
    inner: Emulated,
    fault: Fault,
    launches: AtomicU32,
    kernels: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// None.
    Sound,
    /// After `tanh_fwd_f32`: the first element of y is multiplied by 2^128.
    Tanh,
    /// After every second `sum_f32`: the last bit of the first sum is flipped.
    EverySecondSum,
    /// `mul_f16` cannot be launched.
    NoMul,
    /// There is no memory.
    NoMemory,
    /// After each forward pass of whole sequences of these: a bit of the first element of y is flipped.
    Whole(&'static [(&'static str, usize)]),
    /// After every second forward pass of an LSTM's whole sequences: the last bit of that element is flipped.
    EverySecondLstm,
    /// After `column_sum_f32`: a bit is flipped behind the sums, which is behind a segment of the
    /// flat gradient.
    BehindColumnSum,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        Faulty {
            inner: Emulated::new(0),
            fault,
            launches: AtomicU32::new(0),
            kernels: Arc::default(),
        }
    }

    fn gpu(fault: Fault) -> Arc<Gpu> {
        Gpu::new(Faulty::new(fault))
    }

    fn flip(&self, at: Arg, bits: u32) -> Result<()> {
        let Arg::Ptr(at) = at else {
            panic!("{at:?} is no pointer");
        };
        let mut word = [0u8; 4];
        self.inner.download(&mut word, at)?;
        let flipped = u32::from_ne_bytes(word) ^ bits;
        self.inner.upload(at, &flipped.to_ne_bytes())
    }
}

impl Driver for Faulty {
    fn description(&self) -> String {
        format!("faulty device: {:?}", self.fault)
    }
    fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        if matches!(self.fault, Fault::NoMemory) {
            return Err(rnnx::Error::Device("out of memory".into()));
        }
        self.inner.alloc(bytes)
    }
    fn free(&self, ptr: DevicePtr) -> Result<()> {
        self.inner.free(ptr)
    }
    fn upload(&self, to: DevicePtr, from: &[u8]) -> Result<()> {
        self.inner.upload(to, from)
    }
    fn download(&self, to: &mut [u8], from: DevicePtr) -> Result<()> {
        self.inner.download(to, from)
    }
    fn copy(&self, to: DevicePtr, from: DevicePtr, bytes: usize) -> Result<()> {
        self.inner.copy(to, from, bytes)
    }
    fn fill(&self, to: DevicePtr, value: u8, bytes: usize) -> Result<()> {
        self.inner.fill(to, value, bytes)
    }
    fn launch(&self, launch: &Launch, args: &[Arg]) -> Result<()> {
        self.kernels.lock().unwrap().insert(launch.kernel.into());
        if matches!(self.fault, Fault::NoMul) && launch.kernel == "mul_f16" {
            let message = "no such kernel".to_owned();
            return Err(rnnx::Error::op("launch", message));
        }
        self.inner.launch(launch, args)?;
        match (self.fault, launch.kernel) {
            (Fault::Tanh, "tanh_fwd_f32") => self.flip(args[1], 0x4000_0000),
            (Fault::EverySecondSum, "sum_f32") => {
                let odd = self.launches.fetch_add(1, Ordering::Relaxed) % 2;
                self.flip(args[1], odd)
            }
            (Fault::Whole(kernels), kernel) => {
                let of = |(name, _): &&(&str, usize)| kernel.starts_with(name);
                let found = kernels.iter().find(of);
                found.map_or(Ok(()), |&(_, y)| self.flip(args[y], 0x4000))
            }
            (Fault::EverySecondLstm, kernel) if kernel.starts_with(WHOLE[0].0) => {
                let odd = self.launches.fetch_add(1, Ordering::Relaxed) % 2;
                self.flip(args[WHOLE[0].1], odd)
            }
            (Fault::BehindColumnSum, "column_sum_f32") => {
                let (Arg::Ptr(to), Arg::U32(columns)) = (args[1], args[4]) else {
                    panic!("{args:?}");
                };
                let behind = to.offset(4 * columns as usize);
                self.flip(behind.into(), 1)
            }
            _ => Ok(()),
        }
    }
    fn clusters(&self, launch: &Launch) -> Result<u32> {
        self.inner.clusters(launch)
    }
    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.inner.gemm(gemm)
    }
    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }
    fn record(&self) -> Result<Event> {
        self.inner.record()
    }
    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32> {
        self.inner.elapsed_ms(from, to)
    }
    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        self.inner.capture(work)
    }
    fn replay(&self, graph: &Graph) -> Result<()> {
        self.inner.replay(graph)
    }
}

#[test]
fn the_table_launches_every_kernel_that_an_op_has() {
    let sound = Faulty::new(Fault::Sound);
    let kernels = sound.kernels.clone();
    assert_passed(&selftest::run(Some(&Gpu::new(sound)), None));
    let launched = kernels.lock().unwrap();
    // The emulator's own tests have kernels of their own.
    let of_tests = |name: &&str| name.starts_with("fault_") || name.starts_with("probe_");
    let all = Emulated::kernels().into_iter().filter(|n| !of_tests(n));
    let missing: Vec<_> = all.filter(|name| !launched.contains(*name)).collect();
    assert_eq!(missing, WITHOUT_AN_OP);
}

/// Op and data type of each case that failed, all of them in the order of the table.
fn failures(results: &[CaseResult]) -> Vec<(&str, DType, &str)> {
    let failed = results.iter().filter(|r| !r.passed);
    failed.map(|r| (r.op, r.dtype, r.case.as_str())).collect()
}

#[test]
fn a_wrong_element_of_tanh_fails_tanh_in_f32_and_nothing_else() {
    let results = selftest::run(Some(&Faulty::gpu(Fault::Tanh)), None);
    let tanh = results.iter().filter(|r| r.op == "tanh");
    let tanh: Vec<_> = tanh.filter(|r| r.dtype == DType::F32).collect();
    assert!(tanh.len() > 5);
    for r in &tanh {
        assert!(r.error > 1e10 && r.error > r.bound, "{r:?}");
        assert!(r.message.contains("element 0"), "{r:?}");
    }
    let expected: Vec<_> = tanh
        .iter()
        .map(|r| (r.op, r.dtype, r.case.as_str()))
        .collect();
    assert_eq!(failures(&results), expected);
}

#[test]
fn bits_that_change_from_run_to_run_fail() {
    let gpu = Faulty::gpu(Fault::EverySecondSum);
    let results = selftest::run(Some(&gpu), Some("sum"));
    // A case of one sum: the first run has the right bits, the second has not.
    let one = results.iter().find(|r| r.op == "sum" && r.case == "33");
    let one = one.expect("a case of 33 elements");
    assert!(one.error <= one.bound, "{one:?}");
    assert!(!one.passed && one.message.contains("other bits"), "{one:?}");
}

#[test]
fn an_error_is_a_result_and_the_rest_goes_on() {
    let gpu = Faulty::gpu(Fault::NoMul);
    let results = selftest::run(Some(&gpu), Some("mul"));
    let (failed, passed): (Vec<_>, Vec<_>) = results.iter().partition(|r| !r.passed);
    assert!(
        failed
            .iter()
            .all(|r| r.op == "mul" && r.dtype == DType::F16)
    );
    assert!(failed.iter().all(|r| r.error.is_infinite()));
    assert!(failed.iter().all(|r| r.message.contains("no such kernel")));
    assert!(failed.len() > 5);
    assert!(
        passed
            .iter()
            .any(|r| r.op == "matmul" && r.dtype == DType::F16)
    );
    assert!(
        passed
            .iter()
            .any(|r| r.op == "mul" && r.dtype == DType::F32)
    );
}

#[test]
fn a_write_behind_a_gradient_fails() {
    let gpu = Faulty::gpu(Fault::BehindColumnSum);
    let results = selftest::run(Some(&gpu), Some("add_bias"));
    let case = |dtype| {
        results
            .iter()
            .find(|r| r.case == "7x33" && r.dtype == dtype)
    };
    let r = case(DType::F32).expect("the case");
    assert!(
        !r.passed && r.message.contains("between two tensors"),
        "{r:?}"
    );
    // There the kernel is column_sum_f16.
    assert!(case(DType::F16).expect("the case").passed);
}

#[test]
fn the_check_before_first_use_names_what_differs() {
    spot_check(&Faulty::gpu(Fault::Sound)).unwrap();
    let faults: [(Fault, &[&str]); 5] = [
        (
            Fault::Tanh,
            &["tanh f32", "differs from the CPU", "element 0"],
        ),
        (Fault::EverySecondSum, &["f32", "other bits"]),
        (Fault::NoMul, &["mul f16", "no such kernel"]),
        (Fault::BehindColumnSum, &["f32", "between two tensors"]),
        (Fault::NoMemory, &["out of memory"]),
    ];
    for (fault, parts) in faults {
        let message = spot_check(&Faulty::gpu(fault)).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{fault:?}: {message} lacks {part}");
        }
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

/// Kernels for whole sequences that are wrong cost no more than their speed.
#[test]
fn where_whole_sequences_differ_the_check_leaves_steps() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("gpu-checked");
    // The first reason, not the last.
    for (wrong, op) in [(&WHOLE[..], "lstm_whole"), (&WHOLE[2..], "attention_whole")] {
        let gpu = Faulty::gpu(Fault::Whole(wrong));
        check_once(&gpu, Some(&mark)).unwrap();
        assert_eq!(gpu.recurrence(), Recurrence::Steps);
        let news = gpu.news();
        let says = format!(
            "recurrence: step by step from here on: the start-up check failed: {op}: y, element 0"
        );
        assert!(news.len() == 1 && news[0].starts_with(&says), "{news:?}");
        assert!(!mark.exists(), "the next start must check again");
    }
}

/// Without clusters there are kernels for up to 128 units: three of the nine sizes.
#[test]
fn what_a_device_without_clusters_took_step_by_step_is_told() {
    let gpu = Gpu::new(Emulated::new(0).without_clusters());
    let results = selftest::run(Some(&gpu), Some("lstm_whole"));
    assert_passed(&results);
    let by_steps: Vec<bool> = results.iter().map(|r| r.by_steps).collect();
    let [small, large] = [[false; 3].to_vec(), [true; 6].to_vec()];
    assert_eq!(by_steps, [small, large].concat());
}

/// A case that failed is no case that passed by steps; and there is no training whose steps one could advise.
#[test]
fn a_kernel_that_gives_up_fails_its_case() {
    let gpu = Gpu::new(Emulated::new(0).losing(700));
    let results = selftest::run(Some(&gpu), Some("lstm_whole"));
    let (alone, clusters) = results.split_at(3);
    assert_passed(alone);
    let first = &clusters[0].message;
    assert!(
        first.contains("lstm_whole_fwd_192 gave up waiting at step 1"),
        "{first}"
    );
    assert!(!first.contains("--resume"), "{first}");
    for result in clusters {
        assert!(!result.passed && !result.by_steps, "{result:?}");
    }
}

#[test]
fn the_check_is_done_once_where_it_passes() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("cache/gpu-checked");
    let launches = |fault| {
        let device = Faulty::new(fault);
        let kernels = device.kernels.clone();
        let passed = check_once(&Gpu::new(device), Some(&mark)).is_ok();
        (passed, kernels.lock().unwrap().len())
    };
    let (passed, _) = launches(Fault::Tanh);
    assert!(!passed && !mark.exists());
    let (passed, kernels) = launches(Fault::Sound);
    assert!(passed && kernels > 50 && mark.exists());
    assert_eq!(launches(Fault::Sound), (true, 0));
}
