"""What may be spent: caps by scope, holds taken before work, true costs booked after it."""
