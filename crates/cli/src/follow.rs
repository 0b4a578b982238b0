//! `reft inspect RUN --follow`: the steps of a run as another process does them.

use std::{path::Path, thread, time::Duration};

use anyhow::Result;
use curr_reft::store::{RunReader, ValidationPoint};

use crate::{interrupt::Interrupt, output::print, progress::numbers};

/// Steps that are shown of what has been done already.
const PAST: usize = 10;

/// Between two looks at the run directory.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints a line for each step until the run is done or someone presses Ctrl-C.
pub(crate) fn follow(run: &Path, interrupt: &Interrupt) -> Result<()> {
    let reader = RunReader::open(run)?;
    let mut steps = reader.metrics()?.len().saturating_sub(PAST);
    let mut asked = reader.validations()?.len();
    loop {
        let reader = RunReader::open(run)?;
        // A run that goes on after a kill has taken some steps back.
        let rows = reader.metrics()?;
        steps = steps.min(rows.len());
        for row in &rows[steps..] {
            print(&format!("{} {:>5}  {}", row.phase, row.step, numbers(&row.metrics).join("  ")))?;
        }
        steps = rows.len();
        let points = reader.validations()?;
        asked = asked.min(points.len());
        for point in &points[asked..] {
            let ValidationPoint { phase, step, benchmark, .. } = point;
            let accuracy = point.accuracy().map(|accuracy| format!(" {:.1}%", 100.0 * accuracy));
            print(&format!("{phase} after {step} steps: {benchmark}{}", accuracy.unwrap_or_default()))?;
        }
        asked = points.len();
        if reader.is_finished() {
            return print("the run is done");
        }
        if interrupt.asked() {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
}
