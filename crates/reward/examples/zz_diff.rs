//! tmp
use reft_reward::math::equal;
fn main() {
    for path in std::env::args().skip(1) {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let (kind, gold, answer, verdict): (String, String, String, u8) =
                serde_json::from_str(line).unwrap();
            let got = equal(&gold, &answer);
            if got != (verdict == 1) {
                println!(
                    "{} {kind}: gold `{gold}` answer `{answer}`",
                    if got { "LOOSER" } else { "stricter" }
                );
            }
        }
    }
}
