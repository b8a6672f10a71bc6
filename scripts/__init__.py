"""What sets the project up, boots the guests it is held against, and runs its tests."""
