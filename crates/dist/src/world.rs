//! Which of how many processes this is, as the program says that has started them.

use std::{env, fmt::Display, str::FromStr};

/// What a launcher says that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// A variable that must be there beside another.
    #[error("`{present}` is set and `{missing}` is not; start all processes with torchrun or srun{hint}")]
    Missing {
        /// What is there.
        present: &'static str,
        /// What is not.
        missing: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A variable that is no number in its range.
    #[error("`{name}` is `{value}`; it must be {expected}")]
    Number {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        expected: String,
    },
}

/// The program that has started the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// None: one process.
    None,
    /// `torchrun`, or anything else that sets `RANK` and `WORLD_SIZE`.
    Torchrun,
    /// `srun`.
    Slurm,
}

/// Which of how many processes this is, and where they meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// Who has started it.
    pub launcher: Launcher,
    /// From 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Its number on its machine: the index of its card.
    pub local_rank: usize,
    /// How many there are on its machine, among which its cores are divided.
    pub local_size: usize,
    /// Host and port of the store.
    pub meeting: Option<(String, u16)>,
    /// Whether the launcher's agent serves the store; else rank 0 does.
    pub agent_serves: bool,
    /// How often the processes have been started again. Each attempt has a name of its own in the store.
    pub attempt: u64,
}

const SLURM_HINT: &str = ". Under Slurm: `export MASTER_ADDR=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1) \
                          MASTER_PORT=29500` before `srun`";

impl World {
    /// One process.
    pub fn alone() -> Self {
        Self {
            launcher: Launcher::None,
            rank: 0,
            size: 1,
            local_rank: 0,
            local_size: 1,
            meeting: None,
            agent_serves: false,
            attempt: 0,
        }
    }

    /// From the variables of torchrun, else those of `srun`; one process where there are neither.
    pub fn from_env() -> Result<Self, WorldError> {
        Self::from_vars(|name| env::var(name).ok())
    }

    /// From variables that `get` knows.
    pub fn from_vars(get: impl Fn(&'static str) -> Option<String>) -> Result<Self, WorldError> {
        let (launcher, [rank, size, local_rank]) = if get("RANK").is_some() || get("WORLD_SIZE").is_some() {
            (Launcher::Torchrun, ["RANK", "WORLD_SIZE", "LOCAL_RANK"])
        } else if get("SLURM_STEP_NUM_TASKS").is_some() {
            // Variables of the step: an allocation alone, or its batch script, is one process.
            (Launcher::Slurm, ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"])
        } else {
            return Ok(Self::alone());
        };
        let size_of_world = needed(&get, rank, size, "")?;
        let n: usize = number(size, &size_of_world, 1..=1 << 20)?;
        let own = number(rank, &needed(&get, size, rank, "")?, 0..=n - 1)?;
        let attempt = ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"]
            .into_iter()
            .find_map(|name| get(name).map(|value| number(name, &value, 0..=u64::MAX)))
            .unwrap_or(Ok(0))?;
        if n == 1 {
            return Ok(Self { launcher, attempt, ..Self::alone() });
        }
        let host = needed(&get, size, "MASTER_ADDR", SLURM_HINT)?;
        let port = number("MASTER_PORT", &needed(&get, size, "MASTER_PORT", SLURM_HINT)?, 1..=u16::MAX)?;
        Ok(Self {
            launcher,
            rank: own,
            size: n,
            local_rank: get(local_rank).map_or(Ok(own), |value| number(local_rank, &value, 0..=n - 1))?,
            local_size: local_size(&get, n)?,
            meeting: Some((host, port)),
            agent_serves: get("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
            attempt,
        })
    }
}

/// `LOCAL_WORLD_SIZE` of torchrun, the first number of Slurm's `2(x3),1`; where neither is said, all are here.
fn local_size(get: impl Fn(&'static str) -> Option<String>, size: usize) -> Result<usize, WorldError> {
    if let Some(value) = get("LOCAL_WORLD_SIZE") {
        return number("LOCAL_WORLD_SIZE", &value, 1..=size);
    }
    let of_slurm = get("SLURM_STEP_TASKS_PER_NODE").and_then(|value| {
        let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    Ok(of_slurm.filter(|n| (1..=size).contains(n)).unwrap_or(size))
}

fn needed(
    get: impl Fn(&'static str) -> Option<String>,
    present: &'static str,
    missing: &'static str,
    hint: &'static str,
) -> Result<String, WorldError> {
    get(missing).ok_or(WorldError::Missing { present, missing, hint })
}

fn number<T: FromStr + PartialOrd + Display + Copy>(
    name: &'static str,
    value: &str,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, WorldError> {
    value.trim().parse().ok().filter(|x| range.contains(x)).ok_or_else(|| WorldError::Number {
        name,
        value: value.to_owned(),
        expected: format!("a whole number from {} to {}", range.start(), range.end()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(vars: &[(&str, &str)]) -> Result<World, WorldError> {
        World::from_vars(|name| vars.iter().find(|(known, _)| *known == name).map(|(_, x)| (*x).to_owned()))
    }

    const TORCHRUN: [(&str, &str); 8] = [
        ("RANK", "3"),
        ("WORLD_SIZE", "4"),
        ("LOCAL_RANK", "1"),
        ("LOCAL_WORLD_SIZE", "2"),
        ("MASTER_ADDR", "10.0.0.1"),
        ("MASTER_PORT", "29500"),
        ("TORCHELASTIC_USE_AGENT_STORE", "True"),
        ("TORCHELASTIC_RESTART_COUNT", "2"),
    ];

    #[test]
    fn launchers_say_who_this_is() {
        assert_eq!(world(&[]), Ok(World::alone()));
        let expected = World {
            launcher: Launcher::Torchrun,
            rank: 3,
            size: 4,
            local_rank: 1,
            local_size: 2,
            meeting: Some(("10.0.0.1".into(), 29500)),
            agent_serves: true,
            attempt: 2,
        };
        assert_eq!(world(&TORCHRUN), Ok(expected.clone()));
        // An allocation under which torchrun was started is torchrun's.
        let both = [&TORCHRUN[..], &[("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "0")]].concat();
        assert_eq!(world(&both), Ok(expected));

        let slurm = [
            ("SLURM_PROCID", "1"),
            ("SLURM_STEP_NUM_TASKS", "2"),
            ("SLURM_LOCALID", "0"),
            ("SLURM_STEP_TASKS_PER_NODE", "1(x2)"),
            ("MASTER_ADDR", "node1"),
            ("MASTER_PORT", "29500"),
        ];
        let expected = World {
            launcher: Launcher::Slurm,
            rank: 1,
            size: 2,
            meeting: Some(("node1".into(), 29500)),
            ..World::alone()
        };
        assert_eq!(world(&slurm), Ok(expected));
        assert_eq!(world(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]), Ok(World::alone()));
        let one = world(&[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]);
        assert_eq!(one, Ok(World { launcher: Launcher::Slurm, ..World::alone() }));
    }

    #[test]
    fn what_cannot_be_is_said_by_name() {
        let message = |vars: &[(&str, &str)]| world(vars).unwrap_err().to_string();
        assert_eq!(
            message(&[("RANK", "0")]),
            "`RANK` is set and `WORLD_SIZE` is not; start all processes with torchrun or srun"
        );
        assert_eq!(
            message(&[("RANK", "4"), ("WORLD_SIZE", "4")]),
            "`RANK` is `4`; it must be a whole number from 0 to 3"
        );
        assert_eq!(
            message(&[("RANK", "0"), ("WORLD_SIZE", "zero")]),
            "`WORLD_SIZE` is `zero`; it must be a whole number from 1 to 1048576"
        );
        let no_port = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "2"), ("MASTER_ADDR", "node1")];
        assert!(message(&no_port).contains("`MASTER_PORT` is not"), "{}", message(&no_port));
        assert!(message(&no_port).contains("export MASTER_ADDR="), "{}", message(&no_port));
    }
}
