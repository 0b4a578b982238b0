//! Answers that are drawn in the background, before anyone waits for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use reft_core::{Group, Progress, Sample, SamplingParams, StageError};

use crate::{
    endpoint::Weights,
    engine::{Asked, PAUSE, ServerEngine},
};

/// Questions that a thread has put to the servers. Dropped, it ends with those that are under way.
pub(crate) struct Begun {
    samples: Vec<Arc<Sample>>,
    params: SamplingParams,
    done: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    answers: mpsc::Receiver<Result<Vec<Group>, StageError>>,
}

impl Begun {
    /// Asks the servers for the answers of `weights`.
    pub(crate) fn new(
        engine: &Arc<ServerEngine>,
        weights: Weights,
        never: Vec<i64>,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
    ) -> Self {
        let (done, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (told, answers) = mpsc::channel();
        let begun = Self {
            samples: samples.to_vec(),
            params: params.clone(),
            done: Arc::clone(&done),
            stop: Arc::clone(&stop),
            answers,
        };
        let (engine, samples, params) = (Arc::clone(engine), samples.to_vec(), params.clone());
        thread::spawn(move || {
            let model = engine.name_of(&weights);
            let asked = Asked { model: &model, weights: Some(&weights), never: &never };
            let answered = engine.answer(asked, &samples, &params, &mut |n, _| {
                done.store(n, Ordering::Relaxed);
                !stop.load(Ordering::Relaxed)
            });
            // Nobody hears where they are not wanted any more.
            let _ = told.send(answered);
        });
        begun
    }

    /// Whether these are the questions.
    pub(crate) fn is_of(&self, samples: &[Arc<Sample>], params: &SamplingParams) -> bool {
        let ids = samples.iter().map(|sample| &sample.id);
        self.params == *params && self.samples.iter().map(|sample| &sample.id).eq(ids)
    }

    /// The answers, once they are all there.
    pub(crate) fn wait(self, progress: Progress<'_>) -> Result<Vec<Group>, StageError> {
        let total = self.samples.len() * self.params.group_size;
        loop {
            match self.answers.recv_timeout(PAUSE) {
                Ok(answered) => return answered,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(StageError::other("rollout", "the thread that asks the servers has died"));
                }
            }
            if !progress(self.done.load(Ordering::Relaxed), total) {
                return Err(StageError::Interrupted);
            }
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
