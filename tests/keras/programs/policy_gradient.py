# equal: an actor learns on a small game by policy gradients, in a loop that every rank runs alike
import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(3)
inputs = layers.Input(shape=(3,))
common = layers.Dense(6, activation="relu")(inputs)
model = keras.Model(inputs=inputs, outputs=[layers.Dense(2, activation="softmax")(common), layers.Dense(1)(common)])
optimizer = keras.optimizers.Adam(learning_rate=0.01)
huber_loss = keras.losses.Huber()
rewards_of_episodes = []
for _episode in range(2):
    state, episode_reward = rng.normal(size=3), 0.0
    log_probs, values, rewards = [], [], []
    with tf.GradientTape() as tape:
        for _step in range(4):
            action_probs, critic_value = model(state[None])
            action = rng.choice(2, p=np.squeeze(action_probs) / np.sum(action_probs))
            log_probs.append(tf.math.log(action_probs[0, action]))
            values.append(critic_value[0, 0])
            state = 0.8 * state + (0.3 if action else -0.3)
            rewards.append(-float(np.abs(state).sum()))
        returns = [sum(0.9**j * r for j, r in enumerate(rewards[i:])) for i in range(4)]
        actor = [-log_prob * (ret - value) for log_prob, value, ret in zip(log_probs, values, returns, strict=True)]
        critic = [huber_loss([value], [ret]) for value, ret in zip(values, returns, strict=True)]
        loss_value = sum(actor) + sum(critic)
    grads = tape.gradient(loss_value, model.trainable_variables)
    optimizer.apply_gradients(zip(grads, model.trainable_variables, strict=True))
    rewards_of_episodes.append(sum(rewards))
result = {"rewards": rewards_of_episodes}
