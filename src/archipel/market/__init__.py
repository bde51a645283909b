"""Who does which work at what price: pure integer arithmetic, no opinions, no clock."""
