//! The driver's memory, events and graphs on the emulated device.

use rnnx::device::driver::{DevicePtr, Driver, Launch};
use rnnx::device::emulated::Emulated;

fn upload(device: &dyn Driver, values: &[f32]) -> DevicePtr {
    let ptr = device.alloc(4 * values.len()).unwrap();
    device.upload(ptr, bytemuck::cast_slice(values)).unwrap();
    ptr
}

fn download(device: &dyn Driver, ptr: DevicePtr, n: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; n];
    device
        .download(bytemuck::cast_slice_mut(&mut out), ptr)
        .unwrap();
    out
}

#[test]
fn memory_is_checked() {
    let device = Emulated::new(0);
    let x = upload(&device, &[1.0, 2.0, 3.0]);
    assert_eq!(x.address() % 256, 0);
    let y = device.alloc(12).unwrap();
    device.copy(y, x, 12).unwrap();
    device.fill(y.offset(4), 0, 4).unwrap();
    assert_eq!(download(&device, y, 3), [1.0, 0.0, 3.0]);

    let mut out = [0u8; 16];
    for error in [
        device.copy(y, x, 16),
        device.copy(x.offset(4), x, 8),
        device.fill(x.offset(8), 0, 8),
        device.upload(x, &[0; 13]),
        device.download(&mut out, x),
        device.free(x.offset(4)),
        device.free(DevicePtr::NULL),
        device.fill(DevicePtr::new(64), 0, 1),
    ] {
        assert!(error.is_err());
    }
    device.free(x).unwrap();
    assert!(device.free(x).is_err(), "freed twice");
    assert!(device.fill(x, 0, 4).is_err(), "used after it was freed");
    let launch = Launch::per_element("add_f32", 3);
    let n = 3u64.into();
    let error = device.launch(&launch, &[x.into(), y.into(), y.into(), n]);
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("argument 0") && message.contains("no buffer"),
        "{message}"
    );
    let error = device.alloc(1 << 60).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("batch-size"));
}

#[test]
fn a_graph_runs_what_was_captured_and_nothing_before() {
    let device = Emulated::new(3);
    let x = upload(&device, &[1.0, 2.0, 3.0]);
    let step = || {
        let args = [x.into(), x.into(), x.into(), 3u64.into()];
        device.launch(&Launch::per_element("add_f32", 3), &args)
    };
    let graph = device
        .capture(&mut || step().and_then(|()| step()))
        .unwrap();
    assert_eq!(download(&device, x, 3), [1.0, 2.0, 3.0]);
    device.replay(&graph).unwrap();
    device.replay(&graph).unwrap();
    assert_eq!(download(&device, x, 3), [16.0, 32.0, 48.0]);

    let error = device
        .capture(&mut || device.alloc(4).map(drop))
        .unwrap_err();
    assert!(error.to_string().contains("captured"));
    step().unwrap(); // the failed capture is over
    assert_eq!(download(&device, x, 1), [32.0]);
    let alloc = device.capture(&mut || device.upload(x, &[0; 4]));
    assert!(alloc.is_err());
}

/// A fault abandons its fibers; the next launch on the same device starts afresh.
#[test]
fn a_device_works_on_after_a_fault() {
    let device = Emulated::new(5);
    let x = upload(&device, &[1.0; 64]);
    for _ in 0..3 {
        let early = Launch::new("fault_early_return", 2, 64);
        device.launch(&early, &[x.into(), 7u32.into()]).unwrap_err();
        let y = device.alloc(256).unwrap();
        let reverse = Launch::new("fault_none", 1, 64);
        device.launch(&reverse, &[x.into(), y.into()]).unwrap();
        assert_eq!(download(&device, y, 64), [1.0; 64]);
    }
}

#[test]
fn events_measure_time() {
    let device = Emulated::new(0);
    let from = device.record().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3));
    let to = device.record().unwrap();
    assert!(device.elapsed_ms(&from, &to).unwrap() >= 3.0);
    device.synchronize().unwrap();
    assert!(device.description().contains("emulated"));
    let graph = device.capture(&mut || Ok(())).unwrap();
    let not_an_event = rnnx::device::driver::Event(graph.0);
    assert!(device.elapsed_ms(&from, &not_an_event).is_err());
}

#[test]
fn kernels_are_listed_once() {
    let names = Emulated::kernels();
    assert!(names.contains(&"add_f32") && names.contains(&"tanh_bwd_f16"));
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
}
