//! The stream that all work goes through, events in it, and graphs recorded from it.

use super::api::{Status, call};
use super::context::{Context, Handle};
use crate::error::Result;
use cudarc::driver::sys;
use std::ptr;
use std::sync::Arc;

/// `CU_STREAM_NON_BLOCKING`: no waiting for the default stream, which nobody here uses.
const NON_BLOCKING: u32 = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;

/// `CUDA_ERROR_NOT_READY`
const NOT_READY: Status = 600;

/// A queue of work.
#[derive(Debug)]
pub struct Stream {
    context: Arc<Context>,
    raw: Handle<sys::CUstream_st>,
}

impl Stream {
    /// A new, empty queue.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the driver refuses.
    pub fn new(context: Arc<Context>) -> Result<Self> {
        let mut raw = ptr::null_mut();
        context.enter()?;
        // SAFETY: writes one pointer; destroyed in `drop`.
        unsafe { call!(context.api, cuStreamCreate(&mut raw, NON_BLOCKING))? };
        Ok(Stream {
            context,
            raw: Handle(raw),
        })
    }

    /// The driver's handle.
    pub fn raw(&self) -> sys::CUstream {
        self.raw.0
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// The first fault of a kernel since the last wait.
    pub fn synchronize(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the stream is alive.
        unsafe { call!(self.context.api, cuStreamSynchronize(self.raw.0)) }
    }

    /// Marks this point.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the driver refuses.
    pub fn record(&self) -> Result<Event> {
        self.context.enter()?;
        let mut raw = ptr::null_mut();
        let api = &self.context.api;
        // SAFETY: writes one pointer; destroyed when `event` is dropped.
        unsafe { call!(api, cuEventCreate(&mut raw, 0))? };
        let event = Event {
            context: self.context.clone(),
            raw: Handle(raw),
        };
        // SAFETY: both are alive and of the same context.
        unsafe { call!(api, cuEventRecord(raw, self.raw.0))? };
        Ok(event)
    }

    /// Records what `work` issues.
    ///
    /// # Errors
    /// That of `work`, or of the driver for what cannot be recorded.
    pub fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        self.context.enter()?;
        let api = &self.context.api;
        // Thread-local: what other threads do meanwhile, say free memory, is their affair; what
        // this thread does and cannot be recorded is an error.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is alive; `recording` ends the recording on every way out.
        unsafe { call!(api, cuStreamBeginCapture_v2(self.raw.0, mode))? };
        let mut recording = Recording {
            stream: self,
            open: true,
        };
        work()?;
        let recorded = recording.end()?;
        let mut raw = ptr::null_mut();
        // SAFETY: writes one pointer, destroyed in `drop`; the recorded graph is alive.
        unsafe {
            call!(
                api,
                cuGraphInstantiateWithFlags(&mut raw, recorded.raw.0, 0)
            )?
        };
        Ok(Graph {
            context: self.context.clone(),
            raw: Handle(raw),
        })
    }

    /// Queues recorded work.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the driver refuses.
    pub fn replay(&self, graph: &Graph) -> Result<()> {
        self.context.enter()?;
        // SAFETY: both are alive and of the same context (the caller's check).
        unsafe { call!(self.context.api, cuGraphLaunch(graph.raw.0, self.raw.0)) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: alive until here. The driver lets queued work finish first.
            unsafe { (self.context.api.driver.cuStreamDestroy_v2)(self.raw.0) };
        }
    }
}

/// A recording under way.
struct Recording<'a> {
    stream: &'a Stream,
    open: bool,
}

/// What was recorded, as nodes.
struct Recorded<'a> {
    context: &'a Context,
    raw: Handle<sys::CUgraph_st>,
}

impl<'a> Recording<'a> {
    fn end(&mut self) -> Result<Recorded<'a>> {
        self.open = false;
        let (context, mut raw) = (&*self.stream.context, ptr::null_mut());
        let stream = self.stream.raw.0;
        // SAFETY: writes one pointer, null on failure; ended on the thread that began.
        let status = unsafe { (context.api.driver.cuStreamEndCapture)(stream, &mut raw) };
        // The guard first: a graph may come with an error too.
        let recorded = Recorded {
            context,
            raw: Handle(raw),
        };
        context.api.check("cuStreamEndCapture", status)?;
        Ok(recorded)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if self.open {
            // The work failed or panicked, and its error is on its way: only leave the mode.
            drop(self.end());
        }
    }
}

impl Drop for Recorded<'_> {
    fn drop(&mut self) {
        if !self.raw.0.is_null() {
            // SAFETY: alive until here.
            unsafe { (self.context.api.driver.cuGraphDestroy)(self.raw.0) };
        }
    }
}

/// A point in the stream.
#[derive(Debug)]
pub struct Event {
    context: Arc<Context>,
    raw: Handle<sys::CUevent_st>,
}

impl Event {
    /// Whether the event was recorded in this context.
    pub fn is_of(&self, context: &Arc<Context>) -> bool {
        Arc::ptr_eq(&self.context, context)
    }

    /// Whether the work before this event is done.
    ///
    /// # Errors
    /// A fault of a kernel before this event.
    pub fn is_done(&self) -> Result<bool> {
        self.context.enter()?;
        let api = &self.context.api;
        // SAFETY: the event is alive and recorded.
        match unsafe { (api.driver.cuEventQuery)(self.raw.0) } {
            NOT_READY => Ok(false),
            status => api.check("cuEventQuery", status).map(|()| true),
        }
    }

    /// Waits for this event; milliseconds since `earlier`.
    ///
    /// # Errors
    /// A fault of a kernel before this event.
    pub fn ms_since(&self, earlier: &Event) -> Result<f32> {
        self.context.enter()?;
        let mut ms = 0.0;
        let api = &self.context.api;
        // SAFETY: both are alive, recorded, and of one context (the caller's check).
        unsafe {
            call!(api, cuEventSynchronize(earlier.raw.0))?;
            call!(api, cuEventSynchronize(self.raw.0))?;
            call!(api, cuEventElapsedTime(&mut ms, earlier.raw.0, self.raw.0))?;
        }
        Ok(ms)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: alive until here.
            unsafe { (self.context.api.driver.cuEventDestroy_v2)(self.raw.0) };
        }
    }
}

/// Recorded work.
#[derive(Debug)]
pub struct Graph {
    context: Arc<Context>,
    raw: Handle<sys::CUgraphExec_st>,
}

impl Graph {
    /// Whether the graph was recorded in this context.
    pub fn is_of(&self, context: &Arc<Context>) -> bool {
        Arc::ptr_eq(&self.context, context)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: alive until here. The driver keeps it while it runs.
            unsafe { (self.context.api.driver.cuGraphExecDestroy)(self.raw.0) };
        }
    }
}
