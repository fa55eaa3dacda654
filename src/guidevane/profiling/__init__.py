"""How long everything takes here: members through their real deployment, the stages around them in process."""
