//! Tiles of the output in the matrix unit of Intel's Xeons (AMX, since Sapphire Rapids): bfloat16 with float32 sums, at
//! about ten times the rate of AVX-512.
//!
//! The standard library has no stable form of these instructions (Intel 64 and IA-32 Architectures Software Developer's
//! Manual, volume 1, chapter on AMX), so they are written as assembly. Six registers hold sums, one a part of the left
//! matrix, one a part of the right. Sums of even and odd values are kept apart within a step, so results differ from those
//! of AVX-512 in their last digits.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, __get_cpuid_max};
use std::marker::PhantomData;

use super::avx512::{Before, LeftTile, Place, WIDTH};

/// Rows of a tile: two registers below each other, [`WIDTH`] columns being three side by side.
pub(super) const HEIGHT: usize = 2 * REGISTER;
/// Rows of a register, and words of its rows: it takes so many words of the summed dimension in one step.
pub(super) const REGISTER: usize = 16;

/// Whether the CPU has the unit and the system lets this process use it.
pub(crate) fn granted() -> bool {
    const BFLOAT16_AND_TILES: u32 = 1 << 22 | 1 << 24;
    let (most, _) = __get_cpuid_max(0);
    most >= 7 && __cpuid_count(7, 0).edx & BFLOAT16_AND_TILES == BFLOAT16_AND_TILES && ask_for_tiles()
}

/// Linux keeps room for the large registers only of processes that asked for it (Documentation/arch/x86/xstate.rst).
#[cfg(target_os = "linux")]
fn ask_for_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: this call takes two numbers and changes nothing but what the system keeps of this process's registers.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_tiles() -> bool {
    false
}

/// What `ldtilecfg` reads: all eight registers have sixteen rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut register = 0;
    while register < 8 {
        row_bytes[register] = 64;
        rows[register] = REGISTER as u8;
        register += 1;
    }
    Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// This thread's matrix unit, ready for tiles for as long as this lives.
pub(super) struct MatrixUnit {
    /// The registers are the thread's own.
    stays_here: PhantomData<*const ()>,
}

impl MatrixUnit {
    pub(super) fn configured() -> Self {
        // SAFETY: this module is entered only where `Kernel::available` found the unit, which has asked for its
        // registers; the instruction reads 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly, preserves_flags));
        }
        Self { stays_here: PhantomData }
    }

    /// As the tiles of AVX-512, for words of two successive bfloat16: the steps of `right` are whole registers, `left`
    /// lies row by row and has [`HEIGHT`] rows, whatever stands in those beyond `place`.
    pub(super) fn tile(
        &self,
        left: LeftTile,
        right: &[u32],
        output: &mut [f32],
        place: Place,
        before: Before,
    ) {
        let Place { stride, rows, columns } = place;
        assert!((1..=HEIGHT).contains(&rows) && (1..=WIDTH).contains(&columns), "the size of a tile");
        if (rows, columns) == (HEIGHT, WIDTH) {
            return self.whole_tile(left, right, output, stride, before);
        }
        // A tile at the edge is computed beside the output.
        let mut tile = [0.0; HEIGHT * WIDTH];
        for (row, tile) in tile.chunks_exact_mut(WIDTH).enumerate().take(rows) {
            match before {
                Before::Nothing => {}
                Before::Output => tile[..columns].copy_from_slice(&output[row * stride..][..columns]),
                Before::Row(row) => tile[..columns].copy_from_slice(&row[..columns]),
            }
        }
        self.whole_tile(left, right, &mut tile, WIDTH, Before::Output);
        for (row, tile) in tile.chunks_exact(WIDTH).enumerate().take(rows) {
            output[row * stride..][..columns].copy_from_slice(&tile[..columns]);
        }
    }

    fn whole_tile(&self, left: LeftTile, right: &[u32], output: &mut [f32], stride: usize, before: Before) {
        let steps = right.len() / WIDTH;
        assert!(
            steps > 0 && steps.is_multiple_of(REGISTER) && right.len() == steps * WIDTH,
            "steps of whole registers"
        );
        assert!(
            left.step_stride == 1 && (HEIGHT - 1) * left.row_stride + steps <= left.words.len(),
            "a tile reads inside of the left matrix"
        );
        assert!((HEIGHT - 1) * stride + WIDTH <= output.len(), "a tile lies inside of the output");
        let output = output.as_mut_ptr();
        let (start, start_stride) = match before {
            Before::Nothing => (std::ptr::null(), 0),
            Before::Output => (output.cast_const(), stride),
            Before::Row(row) => (row[..WIDTH].as_ptr(), 0),
        };
        // SAFETY: the unit is configured, for as long as `self` lives. The indices of every access were asserted just
        // now: registers read rows of sixteen words, `HEIGHT` of them of `left`, `steps` of `right`, three side by side
        // of a panel, and read and write `HEIGHT` rows of three side by side of the output; a row before the tile is
        // read in place of each of its rows. Each register is written before it is read.
        unsafe {
            multiply(
                [left.words.as_ptr(), right.as_ptr()],
                left.row_stride,
                steps / REGISTER,
                (start, start_stride),
                (output, stride),
            );
        }
    }
}

impl Drop for MatrixUnit {
    fn drop(&mut self) {
        // Without this the system would save eight kibibytes at every change of threads.
        // SAFETY: the unit is there, as it was configured.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// `output = start + left · right` for two by three registers; `start` may be null.
///
/// # Safety
/// The thread's unit is configured; all registers that the strides describe lie in memory that may be read, or
/// written for `output`.
unsafe fn multiply(
    [left, right]: [*const u32; 2],
    row_stride: usize,
    registers: usize,
    (start, start_stride): (*const f32, usize),
    (output, stride): (*mut f32, usize),
) {
    let lower = |first: *const f32, stride: usize| first.wrapping_add(REGISTER * stride);
    // SAFETY: as the caller promises.
    unsafe {
        asm!(
            "test {start}, {start}",
            "jz 2f",
            "tileloadd tmm0, [{start} + {start_stride}]",
            "tileloadd tmm1, [{start} + {start_stride} + 64]",
            "tileloadd tmm2, [{start} + {start_stride} + 128]",
            "tileloadd tmm3, [{lower_start} + {start_stride}]",
            "tileloadd tmm4, [{lower_start} + {start_stride} + 64]",
            "tileloadd tmm5, [{lower_start} + {start_stride} + 128]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tilezero tmm4",
            "tilezero tmm5",
            "3:",
            "tileloadd tmm6, [{upper} + {row}]",
            "tileloadd tmm7, [{right} + {panel}]",
            "tdpbf16ps tmm0, tmm6, tmm7",
            "tileloadd tmm6, [{lower} + {row}]",
            "tdpbf16ps tmm3, tmm6, tmm7",
            "tileloadd tmm7, [{right} + {panel} + 64]",
            "tdpbf16ps tmm4, tmm6, tmm7",
            "tileloadd tmm6, [{upper} + {row}]",
            "tdpbf16ps tmm1, tmm6, tmm7",
            "tileloadd tmm7, [{right} + {panel} + 128]",
            "tdpbf16ps tmm2, tmm6, tmm7",
            "tileloadd tmm6, [{lower} + {row}]",
            "tdpbf16ps tmm5, tmm6, tmm7",
            "add {upper}, 64",
            "add {lower}, 64",
            "add {right}, {block}",
            "dec {registers}",
            "jnz 3b",
            "tilestored [{output} + {stride}], tmm0",
            "tilestored [{output} + {stride} + 64], tmm1",
            "tilestored [{output} + {stride} + 128], tmm2",
            "tilestored [{lower_output} + {stride}], tmm3",
            "tilestored [{lower_output} + {stride} + 64], tmm4",
            "tilestored [{lower_output} + {stride} + 128], tmm5",
            start = in(reg) start,
            lower_start = in(reg) lower(start, start_stride),
            start_stride = in(reg) start_stride * size_of::<f32>(),
            upper = inout(reg) left => _,
            lower = inout(reg) left.wrapping_add(REGISTER * row_stride) => _,
            row = in(reg) row_stride * size_of::<u32>(),
            right = inout(reg) right => _,
            panel = in(reg) WIDTH * size_of::<u32>(),
            block = const REGISTER * WIDTH * size_of::<u32>(),
            registers = inout(reg) registers => _,
            output = in(reg) output,
            lower_output = in(reg) lower(output, stride),
            stride = in(reg) stride * size_of::<f32>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
