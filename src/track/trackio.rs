//! Trackio's local store: one SQLite file a project, which `trackio show` reads while the run goes on.
//!
//! Layout: <https://huggingface.co/docs/trackio/storage_schema> (trackio 0.43): table `metrics` with a JSON object a step,
//! table `configs` with one a run, pictures below `media/PROJECT`. The folder is `TRACKIO_DIR`, else
//! `~/.cache/huggingface/trackio`; the project `TRACKIO_PROJECT`, else `curr-reft`.

use std::{
    env, fs,
    io::{self, Error},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{SecondsFormat, Utc};
use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};

use super::{Point, Sink, shown::Shown};
use crate::examples::mime_of;

/// How long a write waits for trackio's own.
const PATIENCE: Duration = Duration::from_secs(30);

/// The tables of a new project. Trackio adds those that are not ours when it opens the file.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS metrics (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    run_name TEXT NOT NULL,
    step INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    log_id TEXT,
    space_id TEXT
);
CREATE TABLE IF NOT EXISTS configs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL,
    run_name TEXT NOT NULL,
    config TEXT NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE(run_id)
);
";

/// A run in a project's file.
pub(super) struct Trackio {
    project: Connection,
    /// Folder of the run's pictures, and the same as trackio names it.
    media: (PathBuf, PathBuf),
    run: String,
    /// The run directory tells runs of one name apart.
    id: String,
}

impl Trackio {
    /// The run without the steps that earlier processes wrote.
    pub(super) fn create(run: &Path) -> io::Result<Self> {
        let home = || env::home_dir().map(|home| home.join(".cache/huggingface/trackio"));
        let dir = env::var_os("TRACKIO_DIR").map(PathBuf::from).or_else(home);
        let dir = dir.ok_or_else(|| Error::other("no home folder; set `TRACKIO_DIR`"))?;
        let project = env::var("TRACKIO_PROJECT").unwrap_or_else(|_| "curr-reft".into());
        Self::create_in(&dir, &project, run)
    }

    fn create_in(dir: &Path, project: &str, run: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        // As trackio turns a project's name into a file's.
        let mut file: String =
            project.chars().filter(|&c| c.is_alphanumeric() || c == '-' || c == '_').collect();
        if file.is_empty() {
            file = "default".into();
        }
        let run = run.canonicalize()?;
        let name = run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let id = run.to_string_lossy().into_owned();
        // Runs of other folders, and of other programs, may have this name.
        let media = Path::new(&file).join(format!("{name}-{:08x}", crc32c::crc32c(id.as_bytes())));
        let new = Self {
            project: Connection::open(dir.join(format!("{file}.db"))).map_err(failed)?,
            media: (dir.join("media").join(&media), media),
            run: name,
            id,
        };
        new.project.busy_timeout(PATIENCE).map_err(failed)?;
        // As trackio opens it: a step costs no wait for the disk.
        new.project
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
            .map_err(failed)?;
        new.project.execute_batch(TABLES).map_err(failed)?;
        for table in ["metrics", "configs"] {
            new.execute(&format!("DELETE FROM {table} WHERE run_id = ?1"), params![new.id])?;
        }
        match fs::remove_dir_all(&new.media.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(new),
        }
    }

    fn log(&self, step: u64, numbers: &Map<String, Value>) -> io::Result<()> {
        self.execute(
            "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![self.id, now(), self.run, step as i64, Value::Object(numbers.clone()).to_string()],
        )
    }

    fn execute(&self, sql: &str, params: &[&dyn rusqlite::ToSql]) -> io::Result<()> {
        self.project.execute(sql, params).map(drop).map_err(failed)
    }
}

impl Sink for Trackio {
    fn add(&mut self, point: &Point<'_>) -> io::Result<()> {
        let numbers = point.metrics.iter().map(|(name, value)| (name.to_owned(), json!(value)));
        self.log(point.number, &numbers.collect())
    }

    fn validated(&mut self, number: u64, benchmark: &str, accuracy: f64) -> io::Result<()> {
        self.log(number, &Map::from_iter([(format!("validation/{benchmark}/accuracy"), json!(accuracy))]))
    }

    fn recipe(&mut self, toml: &str) -> io::Result<()> {
        let mut config: Map<String, Value> = toml::from_str(toml).map_err(Error::other)?;
        config.insert("_Created".into(), json!(now()));
        self.execute(
            "INSERT INTO configs (run_id, run_name, config, created_at) VALUES (?1, ?2, ?3, ?4)",
            params![self.id, self.run, Value::Object(config).to_string(), now()],
        )
    }

    fn shows(&self) -> bool {
        true
    }

    fn shown(&mut self, shown: &Shown) -> io::Result<()> {
        let mut picture = Value::Null;
        if let Some(found) = &shown.picture {
            let ending = mime_of(&found.encoded).trim_start_matches("image/");
            let file = Path::new(&shown.number.to_string()).join(format!("picture.{ending}"));
            let path = self.media.0.join(&file);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(&path, &found.encoded)?;
            let name = self.media.1.join(&file);
            picture = json!({"_type": "trackio.image", "file_path": name, "caption": shown.group.sample});
        }
        let question = shown.group.prompt.replace("<image>", "");
        let rows = shown.answers().into_iter().map(|(mark, answer)| {
            json!({"picture": picture, "question": question.trim(), "right answer": shown.group.solution,
                   "mark": mark, "answer": answer})
        });
        let table = json!({"_type": "trackio.table", "_value": rows.collect::<Vec<_>>()});
        self.log(shown.number, &Map::from_iter([(format!("answers/{}", shown.phase), table)]))
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, false)
}

fn failed(error: rusqlite::Error) -> io::Error {
    Error::other(format!("trackio's store: {error}"))
}

#[cfg(test)]
mod tests {
    use reft_core::Metrics;

    use super::*;

    /// A process that goes on writes its run anew and leaves the others as they are.
    #[test]
    fn a_run_begins_anew_beside_others() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("runs/one"), dir.path().join("runs/two"));
        let mut metrics = Metrics::new();
        metrics.set("reward/mean", 1.5);
        for run in [&one, &two, &one] {
            fs::create_dir_all(run).unwrap();
            let mut trackio = Trackio::create_in(&dir.path().join("trackio"), "my.project", run).unwrap();
            trackio.recipe("[run]\nseed = 7\n").unwrap();
            for number in [1, 2] {
                trackio.add(&Point { number, phase: "open", step: 7, metrics: &metrics }).unwrap();
            }
        }
        let project = Connection::open(dir.path().join("trackio/myproject.db")).unwrap();
        let mut rows = project.prepare("SELECT run_name, step, metrics FROM metrics ORDER BY id").unwrap();
        let rows: Vec<(String, i64, String)> = rows
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let numbers = "{\"reward/mean\":1.5}";
        let expected = [("two", 1), ("two", 2), ("one", 1), ("one", 2)];
        assert_eq!(rows, expected.map(|(run, step)| (run.to_owned(), step, numbers.to_owned())));
        let configs: i64 = project.query_row("SELECT count(*) FROM configs", [], |row| row.get(0)).unwrap();
        assert_eq!(configs, 2);
    }

    /// A file of another kind, or of a version with other columns, is an error that says so.
    #[test]
    fn a_store_that_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("p.db"), "no database, and long enough to be read as one").unwrap();
        let error = Trackio::create_in(dir.path(), "p", dir.path()).err().unwrap().to_string();
        assert!(error.starts_with("trackio's store: "), "{error}");
    }
}
