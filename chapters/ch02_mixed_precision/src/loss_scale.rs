//! Dynamic loss scaling: keeps fp16 gradients in the range that fp16 has.
use crate::config::{Config, Precision};
use anyhow::{Result, ensure};

/// A factor for the loss, and so for every gradient on its way back: as large as it can
/// be without overflow, since small gradients would become zero (Micikevicius et al.
/// 2018, *Mixed Precision Training*, §3.2). A power of two changes no digit.
#[derive(Clone, Debug, PartialEq)]
pub struct LossScale {
    /// What the loss is multiplied by, and gradients must be divided by.
    scale: f64,
    /// Steps without an overflow after which it is doubled.
    window: u64,
    /// Steps without an overflow so far.
    good: u64,
}

/// So large is the scale that a run starts with.
const INITIAL: f64 = 65536.0;
/// So many steps it stays, if there is no overflow.
const WINDOW: u64 = 1000;

impl LossScale {
    /// For fp16; the gradients of the other types need none, and none is made.
    pub fn new(config: &Config) -> Option<LossScale> {
        let scale = config.initial_loss_scale.unwrap_or(INITIAL);
        let window = config.loss_scale_window.unwrap_or(WINDOW);
        (config.precision == Precision::Fp16).then_some(LossScale {
            scale,
            window,
            good: 0,
        })
    }
    /// What the loss of this step is multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale
    }
    /// A step was made: after enough of them, the scale is doubled.
    pub fn made(&mut self) {
        self.good += 1;
        if self.good == self.window {
            // Beyond this, one over the scale is no longer a normal fp32 number.
            self.scale = (2.0 * self.scale).min(2f64.powi(100));
            self.good = 0;
        }
    }
    /// A gradient overflowed, and the step was skipped: the scale is halved.
    ///
    /// # Errors
    /// It is 1 already: it is not the scale that makes the gradients overflow.
    pub fn overflowed(&mut self) -> Result<()> {
        ensure!(
            self.scale > 1.0,
            "the gradients overflow fp16 even with a loss scale of 1; bf16 has a wider \
             range (--precision bf16)"
        );
        self.scale /= 2.0;
        self.good = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(window: u64) -> LossScale {
        let config = Config {
            precision: Precision::Fp16,
            initial_loss_scale: Some(8.0),
            loss_scale_window: Some(window),
            ..Config::default()
        };
        LossScale::new(&config).unwrap()
    }

    #[test]
    fn it_doubles_after_a_window_without_overflow() {
        let mut scale = scaler(3);
        let scales = [(); 7].map(|()| {
            scale.made();
            scale.scale()
        });
        assert_eq!(scales, [8.0, 8.0, 16.0, 16.0, 16.0, 32.0, 32.0]);
        // An overflow halves it, and the window begins anew.
        scale.overflowed().unwrap();
        let scales = [(); 3].map(|()| {
            scale.made();
            scale.scale()
        });
        assert_eq!(scales, [16.0, 16.0, 32.0]);
    }

    #[test]
    fn it_gives_up_at_one() {
        let mut scale = scaler(3);
        for want in [4.0, 2.0, 1.0] {
            scale.overflowed().unwrap();
            assert_eq!(scale.scale(), want);
        }
        let error = scale.overflowed().unwrap_err().to_string();
        assert!(error.contains("--precision bf16"), "{error}");
        assert_eq!(scale.scale(), 1.0);
    }

    #[test]
    fn only_fp16_has_one() {
        for precision in [Precision::Fp32, Precision::Fp64, Precision::Bf16] {
            let config = Config { precision, ..Config::default() };
            assert!(LossScale::new(&config).is_none());
        }
    }
}
