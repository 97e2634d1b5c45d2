"""What computes a world's next state: a learned ensemble in torch, or a simulator."""
