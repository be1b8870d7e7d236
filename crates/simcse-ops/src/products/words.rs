//! Memory of packed matrices.

use std::sync::Mutex;

use crate::tensors::lock;

/// Words of a line of the cache: a register that is read from its middle costs two reads.
const LINE: usize = 16;
/// Most buffers that wait for the next product.
const KEPT: usize = 16;

/// Buffers of products that are over. A packed matrix of a layer has some megabytes, all of which are written: clearing
/// them first, or asking the system for them, would cost a tenth of the product.
static FREE: Mutex<Vec<Vec<u32>>> = Mutex::new(Vec::new());

/// Words at the beginning of a line of the cache, returned for the next product when they are dropped.
pub(super) struct Words {
    buffer: Vec<u32>,
    first: usize,
    count: usize,
}

impl Words {
    /// So many words, of any values.
    pub(super) fn take(count: usize) -> Self {
        let wanted = count + LINE;
        let mut free = lock(&FREE);
        // The smallest that is large enough.
        let fits = (0..free.len()).filter(|i| free[*i].len() >= wanted).min_by_key(|i| free[*i].len());
        let buffer = match fits {
            Some(index) => free.swap_remove(index),
            None => {
                drop(free);
                vec![0; wanted]
            }
        };
        let offset = buffer.as_ptr().align_offset(LINE * size_of::<u32>());
        Self { first: if offset < LINE { offset } else { 0 }, buffer, count }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.buffer[self.first..self.first + self.count]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u32] {
        &mut self.buffer[self.first..self.first + self.count]
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let mut free = lock(&FREE);
        free.push(std::mem::take(&mut self.buffer));
        if free.len() > KEPT {
            // The smallest one goes: it is the cheapest to make again.
            let smallest = (0..free.len()).min_by_key(|i| free[*i].len()).unwrap_or_default();
            free.swap_remove(smallest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_at_a_line_and_have_the_length_asked_for() {
        for count in [0, 1, 15, 16, 17, 1000] {
            let mut words = Words::take(count);
            assert_eq!((words.as_slice().len(), words.as_mut_slice().len()), (count, count));
            assert_eq!(words.as_slice().as_ptr().align_offset(LINE * size_of::<u32>()), 0);
        }
    }
}
