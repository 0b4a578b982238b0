//! Images of data sets, decoded once before anything is trained on them: half a picture found at step 50 costs the steps.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use reft_core::{ImageRef, ImageSource, Progress, Sample, SampleId, StageError};
use reft_vlm::processor::check_image;
use serde::Serialize;

/// An image that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadImage {
    /// The sample that shows it.
    pub sample: SampleId,
    /// What is wrong, with the image's name.
    pub problem: String,
}

/// How often progress is told.
const PAUSE: Duration = Duration::from_millis(100);

/// The samples with images that cannot be decoded, in order. An image that several samples show is decoded once. `progress`
/// hears how many images are done.
pub fn bad_images(samples: &[Arc<Sample>], progress: Progress<'_>) -> Result<Vec<BadImage>, StageError> {
    let mut seen = HashSet::new();
    let images: Vec<&ImageRef> = samples.iter().flat_map(|sample| sample.images()).collect();
    let distinct: Vec<&ImageRef> = images.into_iter().filter(|image| seen.insert(&image.source)).collect();
    let problems = problems(&distinct, progress)?;
    let bad = distinct
        .iter()
        .zip(&problems)
        .filter_map(|(image, problem)| Some((&image.source, problem.as_ref()?)));
    let bad: std::collections::HashMap<&ImageSource, &String> = bad.collect();
    let of_sample = |sample: &Arc<Sample>| {
        let problem = sample.images().find_map(|image| bad.get(&image.source))?;
        Some(BadImage { sample: sample.id.clone(), problem: (*problem).clone() })
    };
    Ok(samples.iter().filter_map(of_sample).collect())
}

/// What is wrong with each image, on all threads of the run.
fn problems(images: &[&ImageRef], progress: Progress<'_>) -> Result<Vec<Option<String>>, StageError> {
    let (next, done, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let problems: Mutex<Vec<Option<String>>> = Mutex::new(vec![None; images.len()]);
    let work = || {
        while !stop.load(Ordering::Relaxed)
            && let Some((i, image)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, images.get(i)?)))
        {
            if let Err(error) = check_image(image) {
                problems.lock().unwrap_or_else(PoisonError::into_inner)[i] = Some(error.to_string());
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..rayon::current_num_threads().min(images.len())).map(|_| scope.spawn(work)).collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            if !progress(done.load(Ordering::Relaxed), images.len()) {
                stop.store(true, Ordering::Relaxed);
            }
            thread::sleep(PAUSE.min(Duration::from_millis(1 + images.len() as u64 / 10)));
        }
    });
    if stop.into_inner() {
        return Err(StageError::Interrupted);
    }
    Ok(problems.into_inner().unwrap_or_else(PoisonError::into_inner))
}
