//! Ranks as threads of one process: what collectives give.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::TcpListener, thread, time::Duration};

use reft_dist::{DistError, Group, Launcher, Op, World, on_threads};
use tch::{Device, Kind, Tensor};

const TIMEOUT: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn world(rank: usize, size: usize, port: u16) -> World {
    World {
        launcher: Launcher::Torchrun,
        rank,
        size,
        local_rank: rank,
        local_size: size,
        meeting: Some(("127.0.0.1".into(), port)),
        agent_serves: false,
        attempt: 0,
    }
}

/// What each rank returns.
fn ranks<T: Send>(size: usize, run: impl Fn(&Group) -> T + Sync) -> Vec<T> {
    on_threads(size, TIMEOUT, |group| run(group)).unwrap()
}

fn floats(x: &Tensor) -> Vec<f64> {
    x.to_kind(Kind::Double).view([-1]).try_into().unwrap()
}

#[test]
fn every_rank_has_the_sum_the_largest_and_all_pieces() {
    for size in [2, 3, 4] {
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half, Kind::Double, Kind::Int64] {
            let results = ranks(size, |group| {
                let own =
                    || (Tensor::arange(6, (Kind::Int64, Device::Cpu)) + group.rank() as i64).to_kind(kind);
                let reduced = |op| {
                    let x = own();
                    group.all_reduce(&x, op).unwrap();
                    floats(&x)
                };
                let root = own();
                group.broadcast(&root, 1).unwrap();
                let all = group.all_gather(&own().view([2, 3])).unwrap();
                assert_eq!(all.size(), [size as i64, 2, 3]);
                let piece = (kind != Kind::Half && kind != Kind::BFloat16).then(|| {
                    let whole = Tensor::arange(4 * size as i64, (Kind::Int64, Device::Cpu)).to_kind(kind);
                    floats(&group.reduce_scatter(&whole).unwrap())
                });
                (reduced(Op::Sum), reduced(Op::Min), reduced(Op::Max), floats(&root), floats(&all), piece)
            });
            let n = size as f64;
            let from = |first: f64| (0..6).map(|i| first + f64::from(i)).collect::<Vec<_>>();
            for (rank, (sum, least, most, root, all, piece)) in results.into_iter().enumerate() {
                let expected: Vec<f64> = (0..6).map(|i| n * f64::from(i) + n * (n - 1.0) / 2.0).collect();
                assert_eq!(sum, expected, "{size} ranks, {kind:?}");
                assert_eq!((least, most, root), (from(0.0), from(n - 1.0), from(1.0)));
                assert_eq!(all, (0..size).flat_map(|r| from(r as f64)).collect::<Vec<_>>());
                if let Some(piece) = piece {
                    let own = |i: usize| n * (4 * rank + i) as f64;
                    assert_eq!(piece, (0..4).map(own).collect::<Vec<_>>());
                }
            }
        }
    }
}

/// Sums are equal to the last bit on all ranks and in every run: weights of ranks never drift apart.
#[test]
fn sums_have_one_set_of_bits() {
    let run = || {
        ranks(3, |group| {
            let i = Tensor::arange(100_003, (Kind::Float, Device::Cpu));
            let x = ((i + 1.0) * (0.37 + group.rank() as f64)).sin();
            group.all_reduce(&x, Op::Sum).unwrap();
            Vec::<f32>::try_from(x).unwrap()
        })
    };
    let (first, second) = (run(), run());
    assert!(first.iter().chain(&second).all(|x| *x == first[0]));
}

#[test]
fn words_of_all_ranks_come_back_by_rank_and_errors_reach_everyone() {
    let told = ranks(3, |group| {
        let own = vec![group.rank() as u8; 7 * group.rank()];
        let words = group.exchange(Ok(own)).unwrap();
        let failing = if group.rank() == 1 { Err("the disk is full".to_owned()) } else { Ok(vec![1]) };
        (words, group.exchange(failing).unwrap_err())
    });
    for (words, error) in told {
        assert_eq!(words, [vec![], vec![1; 7], vec![2; 14]]);
        assert_eq!(error, DistError::Peers(vec![(1, "the disk is full".into())]));
        assert_eq!(error.to_string(), "rank 1: the disk is full");
    }
}

#[test]
fn a_buffer_is_cut_into_equal_pieces_only() {
    let errors = ranks(2, |group| {
        group.reduce_scatter(&Tensor::zeros([5], (Kind::Float, Device::Cpu))).unwrap_err().to_string()
    });
    assert_eq!(errors, ["5 numbers are not 2 equal pieces"; 2]);
}

#[test]
fn one_process_keeps_what_it_has() {
    let group = Group::join(&World::alone(), Device::Cpu, TIMEOUT).unwrap();
    assert!(group.is_alone());
    let x = Tensor::from_slice(&[1.0, 2.0]);
    group.all_reduce(&x, Op::Sum).unwrap();
    group.broadcast(&x, 0).unwrap();
    group.barrier().unwrap();
    assert_eq!(floats(&x), [1.0, 2.0]);
    assert_eq!(group.all_gather(&x).unwrap().size(), [1, 2]);
    assert_eq!(floats(&group.reduce_scatter(&x).unwrap()), [1.0, 2.0]);
    assert_eq!(group.exchange(Ok(vec![3])).unwrap(), [vec![3]]);
    assert_eq!(group.exchange(Err("no".into())).unwrap_err().to_string(), "rank 0: no");
}

/// The store answers anybody who reaches it, so it must not be reached from outside the address that was given.
#[cfg(target_os = "linux")]
#[test]
fn the_store_listens_on_its_address_alone() {
    let port = free_port();
    let listening = || {
        let mut found = Vec::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let Ok(text) = std::fs::read_to_string(table) else { continue };
            for line in text.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let (address, number) = fields[1].split_once(':').unwrap();
                if fields[3] == "0A" && u16::from_str_radix(number, 16) == Ok(port) {
                    found.push(address.to_owned());
                }
            }
        }
        found
    };
    let found = thread::scope(|scope| {
        let join =
            |rank| scope.spawn(move || Group::join(&world(rank, 2, port), Device::Cpu, TIMEOUT).unwrap());
        let groups = [join(0), join(1)].map(|thread| thread.join().unwrap());
        let found = listening();
        drop(groups);
        found
    });
    assert_eq!(found, ["0100007F"]);
}

#[test]
fn an_address_of_another_machine_is_an_error_that_names_it() {
    let world = World { meeting: Some(("192.0.2.1".into(), 29500)), ..world(0, 2, 0) };
    let error = Group::join(&world, Device::Cpu, Duration::from_secs(2)).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("rank 0 of 2 cannot meet the others at 192.0.2.1:29500: "), "{error}");
}

/// Nothing here loads libtorch's CUDA half; `reft doctor` does, where it is.
#[test]
fn nccl_that_is_not_there_is_named() {
    let message = reft_dist::nccl_layout().unwrap_err();
    assert!(message.contains("libtorch_cuda is not loaded"), "{message}");
}
