"""Components that need only numpy, registered through the same door as everybody's."""
