//! Fetches one wheel through pip and checks it.
//!
//! pip brings the user's index, mirror, proxy and certificates with it; we bring the pin.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::wheels::Wheel;
use crate::console::Bar;

/// How the folders of unfinished downloads begin.
const PARTIAL: &str = "partial-";

/// A Python that has pip.
pub(super) struct Pip {
    python: String,
}

impl Pip {
    /// Looks for one: `$PYTHON`, `python3`, `python`.
    pub(super) fn find() -> Result<Self> {
        let named = env::var("PYTHON").ok();
        let candidates = named.into_iter().chain(["python3".into(), "python".into()]);
        for python in candidates {
            let works = Command::new(&python)
                .args(["-m", "pip", "--version"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if works.is_ok_and(|status| status.success()) {
                return Ok(Self { python });
            }
        }
        bail!(
            "libtorch is fetched with pip, and no Python 3 with pip was found; install it (Debian: `apt install \
             python3-pip`), name one with PYTHON=..., or set LIBTORCH to an unpacked libtorch {}",
            super::wheels::VERSION
        )
    }

    /// Fetches a wheel into `dir` and returns its path. A wheel that is already there is used again after its checksum
    /// was computed again.
    pub(super) fn fetch(&self, wheel: &Wheel, dir: &Path) -> Result<PathBuf> {
        let name = format!("{}=={}", wheel.package, wheel.version);
        // One folder a wheel, named by its pin, so that a changed pin never meets an old file.
        let home = dir.join(format!("{}-{}", wheel.package, &wheel.sha256[..12]));
        if let Some(path) = the_wheel_in(&home)?
            && verify(&path, wheel).is_ok()
        {
            return Ok(path);
        }

        // The pip of an attempt that was killed may still be writing, so each attempt has a folder of its own.
        remove_partial(dir);
        let partial = dir.join(format!("{PARTIAL}{}", std::process::id()));
        fs::create_dir_all(partial.join("pip"))?;
        self.download(wheel, &name, &partial)?;
        let path = the_wheel_in(&partial)?
            .with_context(|| format!("pip reported success for {name} but left no wheel"))?;
        verify(&path, wheel)?;

        fs::create_dir_all(&home)?;
        let target = home.join(path.file_name().unwrap_or_default());
        fs::rename(&path, &target)?;
        let _ = fs::remove_dir_all(&partial);
        Ok(target)
    }

    /// Runs pip, showing how its files grow.
    fn download(&self, wheel: &Wheel, name: &str, partial: &Path) -> Result<()> {
        let mut pip = Command::new(&self.python)
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
            .args(["--no-cache-dir", "--progress-bar=off"])
            .args(["--disable-pip-version-check", "--no-input"])
            .args(["--implementation", "cp", "--python-version", "3.11"])
            .args(["--abi", "cp311", "--abi", "none"])
            .args(["--platform", wheel.platform])
            .arg("--dest")
            .arg(partial)
            .arg(name)
            // pip downloads into its temporary folder first; this one can be watched and is on the right disk.
            .env("TMPDIR", partial.join("pip"))
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.python))?;

        let (sender, lines) = mpsc::channel();
        for stream in [pip.stdout.take().map(boxed), pip.stderr.take().map(boxed)].into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);

        let mut bar = Bar::new(&format!("fetching {name}"), wheel.bytes);
        let mut said = Vec::new();
        let status = loop {
            if let Some(status) = pip.try_wait()? {
                break status;
            }
            for line in lines.try_iter() {
                if let Some(total) = announced_size(&line) {
                    bar.set_total(total);
                }
                said.push(line);
            }
            bar.show(bytes_below(partial));
            thread::sleep(Duration::from_millis(200));
        };
        said.extend(lines.iter());
        bar.finish();
        if !status.success() {
            bail!("pip could not fetch {name}:\n{}", said.join("\n"));
        }
        Ok(())
    }
}

fn boxed(stream: impl io::Read + Send + 'static) -> Box<dyn io::Read + Send> {
    Box::new(stream)
}

/// Refuses a wheel with another checksum than the pinned one, and removes it.
fn verify(path: &Path, wheel: &Wheel) -> Result<()> {
    let found = sha256(path)?;
    if found == wheel.sha256 {
        return Ok(());
    }
    fs::remove_file(path)?;
    bail!(
        "checksum mismatch for {}=={}\n  expected {}\n  found    {found}\nThe file was removed. The package index \
         served another file than the pinned one: check the index or mirror that pip uses (`pip config list`), then \
         try again",
        wheel.package,
        wheel.version,
        wheel.sha256,
    )
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        digest.update(&buffer[..n]);
    }
    Ok(format!("{:x}", digest.finalize()))
}

/// Removes what attempts that did not finish left behind.
fn remove_partial(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn the_wheel_in(dir: &Path) -> Result<Option<PathBuf>> {
    if !dir.exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Bytes in all files below a folder; files that vanish meanwhile count nothing.
fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_below(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The size that pip announces: `Downloading NAME (530.6 MB)`.
fn announced_size(line: &str) -> Option<u64> {
    let (_, size) = line.trim().strip_prefix("Downloading ")?.rsplit_once('(')?;
    let (number, unit) = size.strip_suffix(')')?.split_once(' ')?;
    let scale = match unit {
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::wheels::Take;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn wheel(sha256: &'static str) -> Wheel {
        Wheel { package: "abc", version: "1", platform: "any", sha256, bytes: None, take: Take::AllLibraries }
    }

    #[test]
    fn a_wrong_checksum_is_refused_and_the_file_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc.whl");
        fs::write(&path, "abc").unwrap();
        verify(&path, &wheel(ABC)).unwrap();
        assert!(path.exists());

        fs::write(&path, "abd").unwrap();
        let error = verify(&path, &wheel(ABC)).unwrap_err().to_string();
        assert!(error.contains("checksum mismatch for abc==1"), "{error}");
        assert!(error.contains(ABC), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_fetched_wheel_is_used_again_only_while_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let pip = Pip { python: "no-such-python".into() };
        let home = dir.path().join("abc-ba7816bf8f01");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("abc.whl"), "abc").unwrap();
        let path = pip.fetch(&wheel(ABC), dir.path()).unwrap();
        assert_eq!(path, home.join("abc.whl"));

        // A broken one is fetched anew, which this Python cannot.
        fs::write(home.join("abc.whl"), "ab").unwrap();
        let error = pip.fetch(&wheel(ABC), dir.path()).unwrap_err().to_string();
        assert!(error.contains("no-such-python"), "{error}");
        assert!(!home.join("abc.whl").exists());
    }

    #[test]
    fn sizes_that_pip_announces() {
        for (line, size) in [
            ("  Downloading torch-2.11.0-cp311.whl (530.6 MB)", Some(530_600_000)),
            ("Downloading x.whl (704 kB)", Some(704_000)),
            ("Downloading x.whl (1.2 GB)", Some(1_200_000_000)),
            ("Downloading x.whl.metadata (12 bytes)", None),
            ("Collecting torch==2.11.0", None),
        ] {
            assert_eq!(announced_size(line), size, "{line}");
        }
    }
}
